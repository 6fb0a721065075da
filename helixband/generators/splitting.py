"""Which examples of a generator of sequences are for training, validation and test."""

from typing import Any

import numpy as np

from helixband.errors import DataError
from helixband.sequence import splits


def parts_of(generator: Any, by: str, val: Any, test: Any, gap: int, seed: int) -> splits.Parts:
    """The numbers of the examples of a `SequenceBatchGenerator`'s parts; arguments as of its `split`."""
    if by in ("chromosome", "interval"):
        intervals = generator.intervals()
        if intervals is None:
            why = f": {generator.no_coordinates}" if generator.no_coordinates else ""
            raise DataError(
                f"{generator.store.path}: the headers are not where their sequences are (chr:start-end)"
                f"{why}. So there is no {by} to split by; split by 'cluster' or 'ratio'"
            )
        if by == "chromosome":
            return splits.by_chromosome(intervals, val=val, test=test)
        # The jitter of both is in the intervals, and that much of the gap is kept.
        return splits.by_interval(intervals, val, test, gap=max(gap - 2 * generator.jitter, 0), seed=seed)
    if by == "cluster":
        from helixband.sequence.similarity import clusters

        return splits.by_cluster(
            clusters(generator.codes(np.arange(generator.n_examples))), val, test, seed=seed
        )
    labels = generator.get_Y()
    classes = labels if labels is not None and labels.ndim == 1 and labels.dtype.kind in "bui" else None
    return splits.by_ratio(generator.n_examples, val, test, seed=seed, labels=classes)
