"""The modules of a definition's folder that it needs: those it has imported, and those its code names."""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from helixband.definition import Definition
from helixband.definition.classes import experiment_of, named_classes
from helixband.errors import UsageError
from helixband.files import read_whole


def sources(definition: Definition, include: Sequence[str]) -> dict[str, bytes]:
    """The content of each file, by its path in the folder of the definition; def.py is as it was run.

    `include`: files, folders and globs in that folder. Raises `UsageError` where one leads to nothing.
    """
    if (experiment := experiment_of(definition.module)) is not None:
        return {
            **_of_experiment(Path(experiment.root), experiment.targets, include),
            experiment.mark: b"",
            definition.path.name: definition.source,
        }
    folder = definition.path.parent
    apart = [each.file for each in named_classes(definition.given) if each.file.parent != folder]
    imported = {file for file in definition.code.imported().values() if file.is_relative_to(folder)}
    found = {definition.path, *imported, *_beside(definition)}
    contents = _contents(found, folder, include)
    contents |= {file.name: read_whole(file) for file in apart}
    return {**contents, definition.path.name: definition.source}


def _of_experiment(root: Path, targets: Sequence[str], include: Sequence[str]) -> dict[str, bytes]:
    """The files of the project of an experiment that its targets lead to, by their paths in it."""
    found = {file for target in targets for file in _files_of(target, root)}
    return _contents(found, root, include)


def _contents(found: set[Path], folder: Path, include: Sequence[str]) -> dict[str, bytes]:
    """The content of these files of a folder, of those that they import from there, and of `include`."""
    waiting = list(found)
    while waiting:
        for file in _named_in(read_whole(waiting.pop()), folder):
            if file not in found:
                found.add(file)
                waiting.append(file)
    for pattern in include:
        found |= _included(pattern, folder)
    return {str(file.relative_to(folder)): read_whole(file) for file in sorted(found)}


def classes(definition: Definition) -> list[str]:
    """The classes that stand for a def.py, as `module.py:LitModel`; none where there is one."""
    return [f"{each.file.name}:{each.name}" for each in named_classes(definition.given)]


def _beside(definition: Definition) -> Iterator[Path]:
    for each in named_classes(definition.given):
        if each.file.parent == definition.path.parent:
            yield each.file


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
            found |= _files_of(name, folder)
    return found


def _files_of(name: str, folder: Path) -> set[Path]:
    """The files of a folder that a dotted name leads to: a module, or all modules of a package."""
    parts = name.split(".")
    place = folder / parts[0]
    if place.with_suffix(".py").is_file():
        return {place.with_suffix(".py")}
    modules = (folder.joinpath(*parts[:count]).with_suffix(".py") for count in range(2, len(parts) + 1))
    if (place / "__init__.py").is_file() or any(module.is_file() for module in modules):
        return {file for file in place.rglob("*.py") if file.is_file()}
    return set()


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
