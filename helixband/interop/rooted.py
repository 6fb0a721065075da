"""The folder that the targets of an experiment are imported from, where it is not the project's own."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

MARK = ".project-root"
"""Beside a definition that has the modules of its experiment with it, as a copy that is moved has."""


@contextlib.contextmanager
def apart(root: str, own: dict[str, ModuleType]) -> Iterator[None]:
    """In the body, modules are imported from `root` first, and PROJECT_ROOT is that.

    `own` holds the modules of the root from one time to the next. Afterwards a name means what it meant
    before, as that of a module of another copy; those that meant nothing stay, so that they are found again.
    """
    names = {place.stem for place in Path(root).iterdir() if place.is_dir() or place.suffix == ".py"}
    before, variable = _modules(names), os.environ.get("PROJECT_ROOT")
    for name in before:
        del sys.modules[name]
    sys.modules.update(own)
    sys.path.insert(0, root)
    os.environ["PROJECT_ROOT"] = root
    try:
        yield
    finally:
        own.update(_modules(names))
        if before:
            for name in _modules(names):
                del sys.modules[name]
            sys.modules.update(before)
        sys.path.remove(root)
        del os.environ["PROJECT_ROOT"]
        if variable is not None:
            os.environ["PROJECT_ROOT"] = variable


def _modules(names: set[str]) -> dict[str, ModuleType]:
    """The modules that are loaded of these names, and those within them."""
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in names}
