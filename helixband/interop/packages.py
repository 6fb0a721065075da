"""The two packages, `lightning` and `pytorch_lightning`: a module is trained by the one that it is of.

Nothing of either is imported here: who has a module or a DataModule has imported its package.
"""

import contextlib
import functools
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from helixband.errors import DefinitionError, in_one_line
from helixband.interop.older import removed_hooks

PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def package_of(thing: Any, kind: str, giver: str) -> Any:
    """The package of Lightning that a module or a DataModule is of; `kind` is the name of its class there.

    Raises `DefinitionError` where it is of neither, or has hooks that no Trainer calls any more; `giver` is
    what gave it, for the message.
    """
    for name in PACKAGES:
        package = sys.modules.get(name)
        if package is not None and isinstance(thing, getattr(package, kind)):
            if faults := removed_hooks(type(thing)):
                raise DefinitionError("; ".join(faults))
            return package
    raise DefinitionError(
        f"{giver} gave {in_one_line(thing)}, a {type(thing).__name__}; it has to give a {kind} of "
        f"lightning or of pytorch_lightning"
    )


def check_same(module: Any, data: Any) -> None:
    """Raise `DefinitionError` where a module and a DataModule are of different packages."""
    if module.__name__ != data.__name__:
        raise DefinitionError(
            f"the module is of {module.__name__}, and the DataModule of {data.__name__}: a Trainer takes "
            "those of its own package alone; import both from the same"
        )


def overrides(thing: Any, name: str) -> bool:
    """Whether a module or a DataModule has a method of its own by this name of its package's class."""
    theirs = next(
        cls for cls in type(thing).__mro__ if cls.__module__.startswith(("lightning.", "pytorch_lightning."))
    )
    return getattr(type(thing), name) is not getattr(theirs, name)


@functools.lru_cache(maxsize=8)
def derived(package: Any, ours: type[Any], theirs: str) -> type[Any]:
    """A class that is both `ours` and the package's of this dotted name."""
    base = functools.reduce(getattr, theirs.split("."), package)
    return type(ours.__name__, (ours, base), {})


@contextlib.contextmanager
def quiet(package: Any) -> Iterator[None]:
    """Around work of a Trainer: its advice is not shown, for it concerns what a run decides itself.

    What a profiler tells is no advice, and is shown.
    """
    profiler = logging.getLogger(f"{package.__name__}.profilers")
    loggers = [logging.getLogger(f"{package.__name__}{name}") for name in ("", ".utilities")]
    loggers += [logging.getLogger(f"{fabric_of(package).__name__}{name}") for name in ("", ".utilities")]
    loggers += [logging.getLogger(f"{package.__name__}.utilities.rank_zero"), profiler]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.INFO if logger is profiler else logging.WARNING)
        with warnings.catch_warnings():
            kind = package.utilities.rank_zero.LightningDeprecationWarning
            advice = fabric_of(package).utilities.warnings.PossibleUserWarning
            warnings.simplefilter("ignore", kind)
            warnings.simplefilter("ignore", advice)
            # Without it, what is logged by several processes is that of the first alone.
            warnings.filterwarnings("default", message=".*sync_dist=True", category=advice)
            warnings.filterwarnings("ignore", message=".*LeafSpec")  # of torch, in the package's own code
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def fabric_of(package: Any) -> Any:
    """The package on which that of a Trainer stands."""
    return sys.modules["lightning.fabric" if package.__name__ == PACKAGES[0] else "lightning_fabric"]
