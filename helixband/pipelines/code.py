"""The modules of a definition's folder that it needs: those it has imported, and those its code names."""

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from helixband.definition import Definition
from helixband.definition.classes import named_classes
from helixband.errors import UsageError
from helixband.files import read_whole


def sources(definition: Definition, include: Sequence[str]) -> dict[str, bytes]:
    """The content of each file, by its path in the folder of the definition; def.py is as it was run.

    `include`: files, folders and globs in that folder. Raises `UsageError` where one leads to nothing.
    """
    folder = definition.path.parent
    apart = [each.file for each in named_classes(definition.given) if each.file.parent != folder]
    found = {definition.path, *_imported(definition), *_beside(definition)}
    waiting = list(found)
    while waiting:
        for file in _named_in(read_whole(waiting.pop()), folder):
            if file not in found:
                found.add(file)
                waiting.append(file)
    for pattern in include:
        found |= _included(pattern, folder)
    contents = {str(file.relative_to(folder)): read_whole(file) for file in sorted(found)}
    contents |= {file.name: read_whole(file) for file in apart}
    return {**contents, definition.path.name: definition.source}


def classes(definition: Definition) -> list[str]:
    """The classes that stand for a def.py, as `module.py:LitModel`; none where there is one."""
    return [f"{each.file.name}:{each.name}" for each in named_classes(definition.given)]


def _beside(definition: Definition) -> Iterator[Path]:
    for each in named_classes(definition.given):
        if each.file.parent == definition.path.parent:
            yield each.file


def _imported(definition: Definition) -> Iterator[Path]:
    folder = definition.path.parent
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.startswith(f"{definition.module.__name__}.") and file:
            path = Path(file)
            if path.is_relative_to(folder) and path.is_file():
                yield path


def _named_in(source: bytes, folder: Path) -> set[Path]:
    """The files of a folder that the import statements of a source lead to, wherever they stand."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            place = folder / name.partition(".")[0]
            if place.with_suffix(".py").is_file():
                found.add(place.with_suffix(".py"))
            elif (place / "__init__.py").is_file() or (folder / f"{name.replace('.', '/')}.py").is_file():
                found |= {file for file in place.rglob("*.py") if file.is_file()}
    return found


def _included(pattern: str, folder: Path) -> set[Path]:
    if Path(pattern).is_absolute():
        try:
            pattern = str(Path(pattern).relative_to(folder))
        except ValueError:
            raise UsageError(
                f"--include {pattern} is not in the folder of the definition, {folder}"
            ) from None
    places = [folder] if pattern == "." else list(folder.glob(pattern))
    found = {
        file
        for place in places
        for file in ([place] if place.is_file() else place.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }
    if not found or not all(file.resolve().is_relative_to(folder) for file in found):
        raise UsageError(
            f"--include {pattern}: there is no such file in the folder of the definition, {folder}"
        )
    return found
