"""What a training by a Trainer draws and holds beyond its checkpoint: seeded by epoch, or else told."""

import warnings
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from helixband.errors import HelixbandWarning
from helixband.interop import packages
from helixband.randomness import SOURCES, derive_seed, held, seed_everything, seed_source
from helixband.training.holdings import shown
from helixband.training.iterators import goes_on, iterators_of
from helixband.training.objects import ATOMS, found_in, walk

CONSEQUENCE = "so a training that is killed may go on to another result"
COLLECTIONS = (list, dict, set)
KEEPS = ("state_dict", "on_save_checkpoint")
"""Methods by which a DataModule or a callback keeps its state."""
OF_LIGHTNING = ("lightning.", "pytorch_lightning.")
"""The modules of callbacks whose state is known."""


class Promises:
    """The random numbers of each epoch, and a warning for what a killed training would not find again.

    `rank` is the number of this process among those of the training.
    """

    def __init__(self, seed: int, rank: int = 0) -> None:
        self._seed, self._rank = seed, rank
        self._datamodule: Any = None
        self._callbacks: list[Any] = []
        self._sources: list[Any] = []
        self._loaders: dict[str, Any] = {}
        self._before: dict[str, Any] = {}

    def begin(self, module: Any, datamodule: Any, loaders: dict[str, Any], callbacks: list[Any]) -> None:
        """Find the random generators that the loaders hold, and tell what goes on that is not kept."""
        self._datamodule = datamodule
        self._callbacks = [each for each in callbacks if not type(each).__module__.startswith(OF_LIGHTNING)]
        for each in callbacks:
            if type(each).__name__ == "ModelPruning":
                _tell("ModelPruning keeps no masks in a checkpoint", "prune when the training is done")
        self._loaders = {name: made for name, made in loaders.items() if made is not None}
        for name, made in self._loaders.items():
            parts = found_in(made, DataLoader)
            if any(loader.persistent_workers for loader in parts):
                _tell(
                    f"the {name} loader has persistent_workers=True: the random numbers of its workers go on "
                    "from epoch to epoch",
                    "leave it out, for new workers in each epoch",
                )
                continue
            for path, _, iterator in iterators_of(name, made):
                if goes_on(iterator) is not False:
                    _tell(
                        f"the {shown(path)} loader holds a {type(iterator).__name__}, whose place no "
                        "checkpoint can hold",
                        "make it anew in __iter__",
                    )
        self._sources = found_in(list(self._loaders.values()), SOURCES)
        self._before = self._held(module)

    @property
    def holds_sources(self) -> bool:
        """Whether the loaders hold random generators."""
        return bool(self._sources)

    def seed(self, epoch: int, step: int = 0) -> None:
        """Seed all that draws, for the loaders of an epoch (`step` 0) or for its steps (1).

        Each process of a training has steps of its own. Of their loaders, which may be parts of one order,
        all draw the same.
        """
        own = [f"process {self._rank}"] if self._rank and step else []
        root = derive_seed(self._seed, "epoch", epoch, step, *own)
        seed_everything(root)
        held.seed(root)
        if step == 0:
            for number, source in enumerate(self._sources):
                seed_source(source, derive_seed(root, "loaders", number))

    def seed_start(self) -> None:
        """Seed what hooks draw before the first epoch of a run, the same wherever that goes on."""
        root = derive_seed(self._seed, "start")
        seed_everything(root)
        held.seed(root)

    def check(self, module: Any) -> None:
        """After the first epoch of a run, tell what has changed in it that no checkpoint holds."""
        now, before, self._before = self._held(module), self._before, {}
        for name in before.keys() & now.keys():
            if before[name] != now[name]:
                _tell(
                    f"{name} changes from epoch to epoch, and is in no checkpoint",
                    "derive it from the epoch, or keep it: by on_save_checkpoint and on_load_checkpoint of "
                    "the module, or by state_dict and load_state_dict of the DataModule or the callback",
                )

    def _held(self, module: Any) -> dict[str, Any]:
        found = [*self._of_datasets(), *_collections(module)]
        for holder in (self._datamodule, *self._callbacks):
            found += _numbers(holder)
        return dict(found)

    def _of_datasets(self) -> Iterator[tuple[str, Any]]:
        """Numbers and texts that the datasets of this process's loaders hold, by their places."""
        for name, made in self._loaders.items():
            for loader in found_in(made, DataLoader):
                if loader.num_workers:  # whose workers are made anew from it
                    continue
                roots = {f"the dataset of the {name} loader": loader.dataset}
                for path, value in walk(roots, lambda value, path: isinstance(value, SOURCES)):
                    if type(value) in ATOMS:
                        yield shown(path), value


def _collections(module: Any) -> Iterator[tuple[str, Any]]:
    """How many items the collections of a module have, unless it keeps them by itself."""
    if packages.overrides(module, "on_save_checkpoint"):
        return
    for name, value in vars(module).items():
        if not name.startswith("_") and type(value) in COLLECTIONS:
            yield f"{type(module).__name__}.{name}", len(value)


def _numbers(holder: Any) -> Iterator[tuple[str, Any]]:
    """Numbers, texts and collections of a DataModule or a callback, unless it keeps its state by itself."""
    if holder is None or any(packages.overrides(holder, name) for name in KEEPS if hasattr(holder, name)):
        return
    for name, value in vars(holder).items():
        if not name.startswith("_") and type(value) in (*ATOMS, *COLLECTIONS):
            yield f"{type(holder).__name__}.{name}", len(value) if type(value) in COLLECTIONS else value


def _tell(what: str, instead: str) -> None:
    warnings.warn(f"{what}, {CONSEQUENCE}; {instead}", HelixbandWarning, stacklevel=3)
