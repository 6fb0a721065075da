"""The sets of a DataModule as generators, and generators as loaders of a Trainer."""

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from helixband.errors import DataError, DefinitionError
from helixband.interop.packages import package_of
from helixband.interop.prepared import Preparation, attributes
from helixband.randomness import derive_seed, seed_everything
from helixband.training.feed import iterate, number_of_batches, to_device

TRAIN, VAL, TEST, PREDICT = "train", "val", "test", "predict"
STAGES = {TRAIN: "fit", VAL: "fit", TEST: "test", PREDICT: "predict"}
"""The stage that a DataModule is set up for, by the set."""
_OF_TRANSFER = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class Source:
    """A DataModule, and for which stages it is ready. Random splits in it depend on `seed` alone.

    `make` is a definition's get_datamodule, without its arguments but for the `config` that it may have. It
    gives what `data_dir` has; `preparation` knows what of that is prepared.
    """

    def __init__(
        self,
        make: Callable[..., Any],
        seed: int,
        data_dir: str,
        preparation: Preparation,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self._make, self._seed, self._data_dir, self._preparation = make, seed, data_dir, preparation
        self._takes_config = "config" in inspect.signature(make).parameters
        self.datamodule = make(config=config or {}) if self._takes_config else make()
        self.package = package_of(self.datamodule, "LightningDataModule", "get_datamodule")
        self._stages: set[str] = set()
        self._is_prepared = False

    def of(self, config: Mapping[str, Any]) -> "Source":
        """The source for a trial of this configuration: itself, unless its data depend on that."""
        if not self._takes_config:
            return self
        made = Source(self._make, self._seed, self._data_dir, self._preparation, config)
        if (path := getattr(self.datamodule, "predict_path", None)) is not None:
            made.datamodule.predict_path = path
        return made

    def has(self, name: str) -> bool:
        """Whether the DataModule gives a loader of this set."""
        method = f"{name}_dataloader"
        return getattr(type(self.datamodule), method) is not getattr(self.package.LightningDataModule, method)

    def prepare(self) -> None:
        """Have the data prepared, and set the random numbers with which they are split."""
        if not self._is_prepared:
            self._seed_all()
            told = attributes(self.datamodule) if self._takes_config else ()
            self._preparation.prepare(self.datamodule, (self._data_dir, told))
            self._is_prepared = True
        self._seed_all()

    def loaders(self, name: str) -> list[Any]:
        """The loaders of a set, of the DataModule when it is ready for them."""
        if not self.has(name):
            raise DefinitionError(
                f"{type(self.datamodule).__name__} has no {name}_dataloader, which this run needs"
            )
        if STAGES[name] not in self._stages:
            self.prepare()
            self.datamodule.setup(STAGES[name])
            self._stages.add(STAGES[name])
        made = getattr(self.datamodule, f"{name}_dataloader")()
        if isinstance(made, dict):
            return list(made.values())
        return list(made) if isinstance(made, list | tuple) else [made]

    def _seed_all(self) -> None:
        seed_everything(derive_seed(self._seed, "data"))


class Loaders:
    """One set of a DataModule, for a LightningModule; iterates over the batches of all its loaders."""

    def __init__(self, source: Source, name: str) -> None:
        self.source, self.name = source, name

    def __iter__(self) -> Iterator[Any]:
        return itertools.chain.from_iterable(map(_batches_of, self.source.loaders(self.name)))

    def __len__(self) -> int:
        if not self.source.has(self.name):
            raise TypeError(f"the DataModule has no {self.name}_dataloader")
        made = self.source.loaders(self.name)
        lengths = [None if _is_combined(each) else number_of_batches(each) for each in made]
        if None in lengths:
            raise TypeError("a loader has no length")
        if not any(lengths):
            raise DataError(
                f"{type(self.source.datamodule).__name__}.{self.name}_dataloader gave no batch; the set "
                "needs one example at least"
            )
        return sum(filter(None, lengths))


def _is_combined(loader: Any) -> bool:
    """Whether a loader is a CombinedLoader of Lightning, which has a length once it is read."""
    return type(loader).__name__ == "CombinedLoader"


def _batches_of(loader: Any) -> Iterable[Any]:
    """The batches of a loader; a CombinedLoader gives each with two numbers of its place."""
    return (batch for batch, _, _ in loader) if _is_combined(loader) else loader


def single_loader(source: Source, name: str) -> Any:
    """The one loader of a set, for a BaseModel.

    Raises `DefinitionError` for several, and where the DataModule changes batches on their way.
    """
    base, kind = source.package.LightningDataModule, type(source.datamodule)
    for hook in _OF_TRANSFER:
        if getattr(kind, hook) is not getattr(base, hook):
            raise DefinitionError(
                f"{kind.__name__}.{hook}: a BaseModel takes batches as the loaders give them; write "
                "prepare_batch(self, x, y) in Model, which changes batches on the device"
            )
    loaders = source.loaders(name)
    if len(loaders) != 1:
        raise DefinitionError(
            f"{kind.__name__}.{name}_dataloader gave {len(loaders)} loaders; a BaseModel takes one: give "
            "one, or a LightningModule by get_module"
        )
    return loaders[0]


class Batches:
    """A generator as a loader of a Trainer: its batches as tensors, in the order of the epoch that is set."""

    def __init__(self, generator: Iterable[Any]) -> None:
        self.generator = generator

    def __iter__(self) -> Iterator[Any]:
        for batch in iterate(self.generator):
            moved = to_device(batch, torch.device("cpu"))
            yield tuple(moved) if isinstance(moved, list) else moved


class SizedBatches(Batches):
    """As `Batches`, of a generator that knows how many it has."""

    def __len__(self) -> int:
        return int(number_of_batches(self.generator) or 0)


def check_parts(generator: Any, devices: int) -> None:
    """Raise `DefinitionError` where each process of a training by several would get all batches."""
    if devices > 1 and not isinstance(generator, Loaders | DataLoader):
        raise DefinitionError(
            f"the Trainer has {devices} devices, and the training generator is a {type(generator).__name__}, "
            "of which each would get all batches: Lightning gives each its part of a DataLoader, or of what "
            "a DataModule gives; give one of these, or devices=1"
        )


def as_loader(generator: Any, rows: int) -> Any:
    """What a Trainer takes for a generator, or for one array or tensor (N, …), cut into so many rows."""
    if isinstance(generator, Loaders):
        return generator.source.loaders(generator.name)
    if isinstance(generator, np.ndarray | Tensor):
        tensor: Any = torch.as_tensor(generator)
        return [to_device(part, torch.device("cpu")) for part in tensor.split(rows)]
    if isinstance(generator, DataLoader):
        return generator
    known = number_of_batches(generator) is not None
    return SizedBatches(generator) if known else Batches(generator)
