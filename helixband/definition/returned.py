"""What a data function of a definition returned: a generator, several, or none that the set can have."""

import inspect
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch.utils.data import ConcatDataset, DataLoader, Subset, default_collate, default_convert

from base_model import BaseModel
from helixband.errors import DataError, DefinitionError
from helixband.generators.datasets import SequenceDataset, SequenceStream
from helixband.generators.mixtures import MixedBatchGenerator
from helixband.generators.sequences import SequenceBatchGenerator
from helixband.nested import CONTAINERS
from helixband.training.feed import told_unlabelled
from helixband.training.objects import found_in


def is_pair(made: Any) -> bool:
    """Whether what was returned is (train, val); a list of two may also be one of two batches."""
    return (
        isinstance(made, tuple | list)
        and len(made) == 2
        and (isinstance(made, tuple) or holds_generators(made))
    )


def holds_generators(made: Any) -> bool:
    """Whether it is a container of generators, and not of batches: arrays, or containers of these."""
    parts = made.values() if isinstance(made, dict) else made if isinstance(made, tuple | list) else ()
    return any(
        (isinstance(part, Iterable) or hasattr(part, "__getitem__"))
        and not isinstance(part, (*CONTAINERS, str, bytes))
        and not (hasattr(part, "dtype") or hasattr(part, "__array__"))
        for part in parts
    )


def check_labelled(module: ModuleType, generator: Any, name: str) -> None:
    """Raise `DataError` where a generator says that it has no labels, and its set needs them.

    `name`: of the function that returned it, and as what. A `fit` of the definition may train on x alone, and
    a `split_batch` may make labels of x.
    """
    model = module.Model
    makes_labels = model.fit is not BaseModel.fit or model.split_batch is not BaseModel.split_batch
    if getattr(generator, "labelled", True) is False and not makes_labels:
        function = getattr(module, name.partition(",")[0])
        code = getattr(inspect.unwrap(function), "__code__", None)  # a callable object has none
        place = f"{code.co_filename}, line {code.co_firstlineno}" if code else module.__file__
        raise DataError(f"{place}, in {name.rstrip(',')}: {told_unlabelled(generator)}")


def check_workers(path: Path, generator: Any, name: str) -> None:
    """Raise `DefinitionError` for a DataLoader, also within a generator, whose workers go on."""
    for loader in found_in(generator, DataLoader):
        if loader.persistent_workers:
            kind = type(generator).__name__
            where = f"a {kind}" if loader is generator else f"a {kind} that holds a {type(loader).__name__}"
            raise DefinitionError(
                f"{path}: {name} returned {where} with persistent_workers=True; a checkpoint cannot save the "
                "random numbers of such workers. Leave it out, so that the result is reproducible"
            )


def sequences_of(generator: Any) -> SequenceBatchGenerator | None:
    """The generator of sequences whose x, which no code in between changes, are those of a generator.

    Of several sets it is the first. None where there is none, or where one of the sets is read by a class of
    the definition's, or put in batches by a function of its own: what that makes of x is not known.
    """
    if isinstance(generator, SequenceBatchGenerator):
        return generator if generator.is_read_as_ours() else None
    if isinstance(generator, MixedBatchGenerator):
        return _of_all(generator.generators) if generator.is_read_as_ours() else None
    kind: Any = type(generator)
    if kind is DataLoader and generator.collate_fn in (default_collate, default_convert):
        return sequences_of(generator.dataset)
    if kind is ConcatDataset:
        return _of_all(generator.datasets)
    if kind is Subset:
        return sequences_of(generator.dataset)
    return sequences_of(generator.generator) if kind in (SequenceDataset, SequenceStream) else None


def _of_all(sets: Iterable[Any]) -> SequenceBatchGenerator | None:
    found = [sequences_of(each) for each in sets]
    return None if None in found else found[0]
