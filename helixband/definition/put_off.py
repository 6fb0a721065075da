"""A part of hyperopt that is imported when it is used.

`from hyperopt import hp` imports `hyperopt.atpe` too, a sampler with trained models, and scipy.stats for it.
That takes longer than the rest of hyperopt, in each process of a search.
"""

import importlib.abc
import importlib.machinery
import sys
import threading
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_NAME = "hyperopt.atpe"


def put_off() -> None:
    """Have the part be imported by the first use of what it defines."""
    if _NAME not in sys.modules and not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path) if fullname == _NAME else None
        if spec is not None and spec.loader is not None:
            spec.loader = _Later(spec.loader)
        return spec


class _Later(importlib.abc.Loader):
    """Gives a module that loads itself when it is asked for a name."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader, self._lock = loader, threading.RLock()
        self._begun = False

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        def load(name: str) -> Any:
            if name == "__all__" or not name.startswith("__"):  # others are asked of any module
                self._load(module)
                if name in vars(module):
                    return vars(module)[name]
            raise AttributeError(
                f"module {module.__name__!r} has no attribute {name!r}", name=name, obj=module
            )

        vars(module)["__getattr__"] = load

    def _load(self, module: ModuleType) -> None:
        with self._lock:
            if self._begun:
                return
            self._begun, later = True, vars(module)["__getattr__"]
            try:
                self._loader.exec_module(module)
            except BaseException:
                self._begun = False
                raise
            if vars(module).get("__getattr__") is later:
                del vars(module)["__getattr__"]
