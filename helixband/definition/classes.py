"""Two classes of Lightning in the place of a def.py: `module.py:LitModel,data.py:CoraData`."""

import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from helixband.definition.folder import execute, new_module
from helixband.errors import DefinitionError

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


def _class_of(named: NamedClass, definition: ModuleType, seed: int) -> Any:
    """A class of the definition's file, or of another file that is loaded like one.

    Raises `DefinitionError` where there is no such file or class.
    """
    module = definition
    if str(named.file) != definition.__file__:
        try:
            module = new_module(named.file, named.file.read_bytes(), seed)
        except OSError as error:
            raise DefinitionError(f"cannot read {named.file}: {error.strerror}") from error
        execute(module)
    if not isinstance(found := getattr(module, named.name, None), type):
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise DefinitionError(
            f"{named.file} has no class {named.name}; it has {', '.join(classes) or 'none'}"
        )
    return found


def take(classes: list[NamedClass], definition: ModuleType, seed: int) -> None:
    """Put the two classes in the places of get_module and get_datamodule of a definition."""
    from helixband.interop import take_classes

    take_classes(definition, [_class_of(each, definition, seed) for each in classes])
