"""The `_target_`s of a configuration: that each can be imported, before any work; and that there is a GPU."""

import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from helixband.errors import DefinitionError, UsageError, meant


def targets(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(dotted path, target) of each `_target_` in a plain configuration."""
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for name, value in items:
        where = f"{path}.{name}" if path else str(name)
        if name == "_target_" and isinstance(value, str):
            yield where, value
        yield from targets(value, where)


def check_targets(config: Mapping[str, Any], file: str) -> None:
    """Raise `DefinitionError` for targets that cannot be imported, each with the part that is not there."""
    faults = []
    for where, target in targets(config):
        try:
            located(target)
        except LookupError as error:
            faults.append(f"{where} is {target}: {error.args[0]}")
    if faults:
        listed = "".join(f"\n  - {fault}" for fault in faults)
        raise DefinitionError(f"{file}: {len(faults)} of its targets cannot be imported:{listed}")


def located(target: str) -> Any:
    """What a dotted name leads to; raises `LookupError` with the part of it that is not there."""
    parts = target.split(".")
    if not all(parts):
        raise LookupError("a part of the name is empty")
    found, path = _module(parts[0], ""), parts[0]
    for part in parts[1:]:
        if not hasattr(found, part):
            found_module = _module(part, path) if hasattr(found, "__path__") else None
            if found_module is None:
                inside = pkgutil.iter_modules(getattr(found, "__path__", []))
                names = [name for name in [*vars(found), *(each.name for each in inside)] if name[0] != "_"]
                near = f"; {hint}" if (hint := meant(part, names)).startswith("did") else ""
                raise LookupError(f"{path} has no {part}{near}")
            found = found_module
        else:
            found = getattr(found, part)
        path = f"{path}.{part}"
    return found


def _module(name: str, package: str) -> Any:
    """The module of this name in a package, or None where a package has none; `LookupError` at the top."""
    full = f"{package}.{name}" if package else name
    try:
        return importlib.import_module(full)
    except ModuleNotFoundError as error:
        if error.name != full:
            raise LookupError(f"importing {full} failed: there is no module {error.name}") from error
        if package:
            return None
        raise LookupError(f"there is no module {full}; looked for in {_places()}") from error
    except Exception as error:
        raise LookupError(f"importing {full} raised {type(error).__name__}: {error}") from error


def _places() -> str:
    return f"{os.environ.get('PROJECT_ROOT', sys.path[0])} and the installed packages"


def check_accelerator(trainer: Mapping[str, Any], file: str) -> None:
    """Raise `UsageError` where a Trainer asks for a GPU and there is none."""
    asked = trainer.get("accelerator")
    there = {"gpu": torch.cuda.is_available() or torch.backends.mps.is_available()}
    there |= {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if there.get(str(asked), True):
        return
    raise UsageError(
        f"{file}: trainer.accelerator is {asked}, and there is no such device here; choose another "
        "trainer, as trainer=cpu, or trainer.accelerator=auto"
    )
