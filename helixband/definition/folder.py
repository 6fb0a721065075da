"""The folder of a definition as a package, in this process and in those that are spawned from it.

A def.py is loaded as the module `helixband.definition.<name>_<seed>_<digest>`, a package of the files in its
folder. `import helper`, in def.py and in what lies beside it, is the helper beside it first, whatever other
module there is of that name: of Helixband, installed, of the standard library, or beside another definition.
The folder itself is last in `sys.path`, so that it hides nothing from other code.

A spawned process, such as a worker of a DataLoader, unpickles classes of the definition by the name of their
module. It imports this package first, whose finder finds the file in `sys.path` again.
"""

import builtins
import hashlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import helixband
from helixband.errors import DefinitionError, let_output_pass
from helixband.randomness import SOURCES, derive_seed, held, seed_everything, unmoved
from helixband.training.objects import OF_DEFINITIONS, OWN_MODULES, found_in

_PACKAGE = __name__.rpartition(".")[0]
_ROOT = Path(helixband.__file__).resolve().parent.parent


def new_module(path: Path, source: bytes, seed: int) -> ModuleType:
    """The module of a definition, which `execute` runs; it can be imported by its name from now on."""
    name = _module_name(path, source, seed)
    module = importlib.util.module_from_spec(_spec(name, _DefinitionLoader(path, source, seed)))
    sys.modules[name] = module  # first, so that dataclasses and the like find their module
    return module


def execute(module: ModuleType) -> None:
    """Run the file of a module that `new_module` made."""
    assert module.__spec__ is not None and module.__spec__.loader is not None
    module.__spec__.loader.exec_module(module)


def definition_of(module: str) -> str | None:
    """The name of the definition that a module is or lies beside, by its name; None for any other module."""
    found = OF_DEFINITIONS.match(module)
    return found[0] if found else None


def is_import(file: str) -> bool:
    """Whether a frame of this file, between two of a definition, is but the import of one by the other."""
    return file == __file__ or file.startswith("<frozen importlib")


def explain_hidden(definition: ModuleType, text: str) -> str:
    """What to add to the text of an error about a file beside the definition, where that hides another."""
    path, name = Path(str(definition.__file__)), definition.__name__
    for found in re.findall(rf"{re.escape(name)}\.(\w+)", text):
        if (what := _hidden_by(found, str(path.parent))) is not None:
            file = getattr(sys.modules.get(f"{name}.{found}"), "__file__", None) or path.parent / found
            return (
                f"\n{file} lies beside the definition, so `import {found}` finds it there, and not {what}. "
                "If you meant the other one, rename the file"
            )
    return ""


def _hidden_by(name: str, folder: str) -> str | None:
    """What a file of this name hides, in words."""
    if name in OWN_MODULES:
        return f"Helixband's module {name}"
    if name in sys.stdlib_module_names:
        return f"Python's module {name}"
    elsewhere = PathFinder.find_spec(name, [place for place in sys.path if place != folder])
    return f"the installed package {name}" if elsewhere is not None and elsewhere.origin else None


class _DefinitionLoader(Loader):
    """Runs a def.py under the seed of a run."""

    def __init__(self, path: Path, source: bytes, seed: int) -> None:
        self.path, self.folder = path, str(path.parent)
        self.source = source
        self.seed = seed

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = _with_own_imports(spec.name, self)
        module.__file__ = str(self.path)
        return module

    def exec_module(self, module: ModuleType) -> None:
        if self.folder not in sys.path:
            sys.path.append(self.folder)
        held.begin(module.__name__)
        seed_everything(derive_seed(self.seed, "definition"))
        exec(compile(self.source, str(self.path), "exec"), module.__dict__)
        held.begin(module.__name__)  # now, after what was drawn as they were loaded
        for name, loaded in list(sys.modules.items()):
            if name == module.__name__ or name.startswith(f"{module.__name__}."):
                held.hold(_generators_of(loaded))

    def is_beside(self, definition: str, name: str) -> bool:
        """Whether a plain `import name` of the definition is that of a file or folder beside it."""
        if name in OWN_MODULES and _ROOT == self.path.parent:
            return False
        spec = PathFinder.find_spec(f"{definition}.{name}", [self.folder])
        if spec is None or spec.origin == str(self.path):
            return False
        if spec.origin is None:  # a folder without __init__.py, as one with data: whatever else has the name
            return name not in sys.stdlib_module_names and _hidden_by(name, self.folder) is None
        return True


class _HelperLoader(SourceFileLoader):
    """Loads a file beside a definition, under random numbers of its own: it may be loaded at any time."""

    def __init__(self, name: str, path: str, definition: "_DefinitionLoader") -> None:
        super().__init__(name, path)
        self._definition = definition

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _with_own_imports(spec.name, self._definition)

    def exec_module(self, module: ModuleType) -> None:
        with unmoved():
            seed_everything(derive_seed(self._definition.seed, "definition", _within(module)))
            super().exec_module(module)
        held.hold(_generators_of(module))


class _Finder(MetaPathFinder):
    """Finds definitions by the names of their modules, and what lies beside them."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not (found := OF_DEFINITIONS.match(name)):
            return None
        if found.end() == len(name):
            return _spec(name, _found_again(name, found["stem"], int(found["seed"])))
        spec = PathFinder.find_spec(name, path)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            definition = sys.modules[found[0]].__spec__
            assert definition is not None and isinstance(definition.loader, _DefinitionLoader)
            spec.loader = _HelperLoader(name, spec.loader.path, definition.loader)
        return spec


def _found_again(name: str, stem: str, seed: int) -> _DefinitionLoader:
    """The definition whose module has this name, in a process that did not load it.

    Raises `DefinitionError` where its file was changed since.
    """
    let_output_pass()
    changed: list[Path] = []
    for folder in reversed(sys.path):
        place = Path(folder or ".").resolve()
        for path in sorted(place.iterdir()) if place.is_dir() else []:
            if _plain(path) == stem and path.is_file():
                source = path.read_bytes()
                if _module_name(path, source, seed) == name:
                    return _DefinitionLoader(path, source, seed)
                changed.append(path)
    seen = ", ".join(map(str, changed)) or "it is in no folder of sys.path"
    raise DefinitionError(
        f"a process that was started anew does not find the definition {stem} as it was: {seen}; do not "
        "change or move it while a run goes on"
    )


def _spec(name: str, loader: _DefinitionLoader) -> ModuleSpec:
    spec = ModuleSpec(name, loader, origin=str(loader.path), is_package=True)
    spec.submodule_search_locations = [loader.folder]
    return spec


def _module_name(path: Path, source: bytes, seed: int) -> str:
    digest = hashlib.sha256(os.fsencode(path) + b"\0" + source).hexdigest()[:12]
    return f"{_PACKAGE}.{_plain(path)}_{seed}_{digest}"


def _plain(path: Path) -> str:
    return re.sub(r"\W", "_", path.stem)


def _with_own_imports(name: str, loader: _DefinitionLoader) -> ModuleType:
    """An empty module whose `import` statements look beside the definition first."""
    definition = name[: OF_DEFINITIONS.match(name).end()]  # type: ignore[union-attr]

    def find(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        top = name.partition(".")[0]
        if level or not loader.is_beside(definition, top):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        # With a list of names, the module itself is what comes back, and not the package at the top.
        module = builtins.__import__(f"{definition}.{name}", globals, locals, fromlist or ("__name__",))
        return module if fromlist else sys.modules[f"{definition}.{top}"]

    module = ModuleType(name)
    vars(module)["__builtins__"] = {**vars(builtins), "__import__": find}
    return module


def _generators_of(module: ModuleType) -> dict[str, Any]:
    """The random generators that a module of a definition holds, by name: also those in its classes, and in
    defaults and closures of its functions."""
    found: dict[str, Any] = {}
    for key, value in list(vars(module).items()):
        if not key.startswith("__"):
            parts = _parts(value, module.__name__)
            sources = [source for part in parts for source in found_in(part, SOURCES)]
            found |= {f"{_within(module)}:{key}.{number}": source for number, source in enumerate(sources)}
    return found


def _within(module: ModuleType) -> str:
    """The name of a module beneath that of its definition: empty, or with a dot in front."""
    return OF_DEFINITIONS.sub("", module.__name__)


def _parts(value: Any, module: str) -> Iterator[Any]:
    """A value of a module; of a function or a class that is the module's own, what it holds."""
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if not isinstance(value, FunctionType | type):
        yield value
    elif value.__module__ == module and isinstance(value, FunctionType):
        yield from value.__defaults__ or ()
        yield from (value.__kwdefaults__ or {}).values()
        yield from filter(None, map(_content, value.__closure__ or ()))
    elif value.__module__ == module:
        for inner in list(vars(value).values()):
            yield from _parts(inner, module)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


sys.meta_path.insert(0, _Finder())
