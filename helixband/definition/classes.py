"""What stands in the place of a def.py: two classes, `module.py:Lit,data.py:Data`, or an experiment."""

import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from helixband.definition.folder import execute, new_module
from helixband.errors import DefinitionError

_SECOND = b"\n\n# ---- the second file, of the DataModule ----\n"
"""Between the two files in a record."""
_TWO_CLASSES = re.compile(r"(.+\.py):(\w+),(.+\.py):(\w+)")


class NamedClass(NamedTuple):
    """A class in a file, as `module.py:LitModel` names it."""

    file: Path
    name: str


def named_classes(given: str | os.PathLike[str]) -> list[NamedClass]:
    """The two classes that are given in the place of a definition's file; none where that is a file."""
    found = _TWO_CLASSES.fullmatch(os.fspath(given))
    if not found or os.path.isfile(given):
        return []
    module, name, data, of_data = found.groups()
    return [NamedClass(Path(module).resolve(), name), NamedClass(Path(data).resolve(), of_data)]


def record_of(classes: list[NamedClass], source: bytes) -> bytes:
    """What is recorded of a definition with this `source`, or record: both files, where classes are of two.

    Raises `DefinitionError` where the second cannot be read.
    """
    if len({each.file for each in classes}) < 2 or _SECOND in source:
        return source
    return source + _SECOND + _read(classes[1].file)


def parts_of(record: bytes) -> tuple[bytes, bytes | None]:
    """The two sources in a record, the latter None where there is one."""
    first, mark, second = record.partition(_SECOND)
    return first, second if mark else None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DefinitionError(f"cannot read {file}: {error.strerror}") from error


def _class_of(named: NamedClass, modules: list[ModuleType]) -> Any:
    """The class in the module of its file; raises `DefinitionError` where there is none."""
    module = next(module for module in modules if module.__file__ == str(named.file))
    if not isinstance(found := getattr(module, named.name, None), type):
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise DefinitionError(
            f"{named.file} has no class {named.name}; it has {', '.join(classes) or 'none'}"
        )
    return found


def take(classes: list[NamedClass], modules: list[ModuleType], seed: int, record: bytes) -> None:
    """Put the two classes in the places of get_module and get_datamodule of a definition.

    `modules` has the definition's module. If the second class is of another file, that is loaded like the
    first, and its module added. Raises `DefinitionError` where there is no such file or class.
    """
    from helixband.interop import take_classes

    file = classes[1].file
    if str(file) != modules[0].__file__:
        source = parts_of(record)[1]
        modules.append(new_module(file, _read(file) if source is None else source, seed))
        execute(modules[1])
    take_classes(modules[0], [_class_of(each, modules) for each in classes])


def lightning_module(definition: ModuleType, given: str) -> str | None:
    """What gives the LightningModule of a definition, as its user wrote it; None where there is none."""
    if (experiment := experiment_of(definition)) is not None:
        return f"model in {experiment.file}"
    if classes := named_classes(given):
        return f"{classes[0].file.name}:{classes[0].name}"
    return "get_module" if "get_module" in vars(definition) else None


def experiment_of(definition: ModuleType) -> Any:
    """The experiment in YAML that the module of a definition was made from, or None."""
    room, found = sys.modules.get("helixband.interop.experiment"), vars(definition).get("experiment")
    return found if room is not None and isinstance(found, room.Experiment) else None
