"""Which test result and predictions are of other weights than those that are there now."""

import contextlib
from dataclasses import dataclass, field
from typing import Any

from helixband.errors import StorageError
from helixband.files import exists
from helixband.results.digests import file_digest
from helixband.results.directory import Results


@dataclass
class Older:
    """What is of other weights, with the trial of these, as "trial 0003, trained to epoch 9"."""

    test: str = ""
    """Of the test result; "" where it is of the weights that are there, or there is none."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Of the predictions, by the file of their record."""
    outputs: set[str] = field(default_factory=set)
    """The files of these predictions, relative to `predictions/`."""

    def note(self) -> str:
        """One line for all; "" where nothing is older."""
        count = len(self.inputs)
        plural = "s" * (count > 1)
        parts = ["the test result"] * bool(self.test)
        parts += [f"the predictions on {count:,} input{plural}"] * bool(count)
        if not parts:
            return ""
        of = sorted({*filter(None, [self.test]), *self.inputs.values()})
        flags = " and ".join(["--eval"] * bool(self.test) + ["--predict"] * bool(count))
        return (
            f"note: {' and '.join(parts)} are of earlier weights ({'; '.join(of)}); give {flags} to make "
            "those of the weights that are there now"
        )


def older_results(results: Results) -> Older:
    """Hold the weights that each result depends on against those of the best trial; all are read."""
    found, best = Older(), results.best_trial()
    if best is None or not exists(best.best_checkpoint) or not exists(results.run_file):
        return found
    weights = file_digest(best.best_checkpoint)
    if exists(results.test_file):
        tested = results.run().get("stages", {}).get("evaluate", {})
        found.test = _older(tested, weights)
    for record in results.records():
        document: dict[str, Any] = {}
        with contextlib.suppress(StorageError):  # of a damaged one, whoever asks for its input is told
            document = results.record(record)
        if document.get("outputs") and (told := _older(document.get("facts", {}), weights)):
            found.inputs[str(record)] = told
            files = (results.inside(name, record) for name in document["outputs"])
            found.outputs |= {file.relative_to(results.predictions).as_posix() for file in files}
    return found


def _older(facts: dict[str, Any], weights: str) -> str:
    if facts.get("weights", weights) == weights:
        return ""
    return f"trial {facts.get('trial')}, trained to epoch {facts.get('epochs')}"
