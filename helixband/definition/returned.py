"""What a data function of a definition returned: a generator, several, or none that the set can have."""

import inspect
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch.utils.data import DataLoader

from base_model import BaseModel
from helixband.errors import DataError, DefinitionError
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
