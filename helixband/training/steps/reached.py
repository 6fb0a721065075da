"""What code of a definition can reach besides its attributes and arguments, found by the names in it."""

import dis
import functools
import importlib.util
import os
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple

from helixband.training.objects import (
    OF_DEFINITIONS,
    Nature,
    is_installed,
    is_known_code,
    is_known_module,
    is_of_helixband,
    nature,
    walk,
)
from helixband.training.steps.described import is_model, is_of_training

Read = Callable[[], Any]
"""The value of a variable at the moment; None where it has none."""
Space = ModuleType | type[Any]
"""What has variables by name."""

OUTSIDE = {
    "builtins": ("open", "input", "globals", "eval", "exec", "__import__"),
    "os": ("listdir", "scandir", "popen"),
    "sys": ("modules", "_getframe"),
    "inspect": ("currentframe", "stack"),
    "importlib": ("import_module", "reload"),
    "gc": ("get_objects", "get_referrers"),
    "pathlib": ("Path",),
    "numpy": ("load", "loadtxt", "genfromtxt", "fromfile", "memmap"),
    "torch": ("load",),
    "h5py": ("File",),
    "pandas": ("read_csv",),
}
"""By these, code gets at what no variable has, such as files, or at any variable.

Clocks are left out: code that measures itself computes the same, and what depends on the time is not its own
again anyway.
"""
ENVIRONMENT = ("environ", "getenv")
BY_ANY_NAME = frozenset({"getattr", "vars", "attrgetter", "methodcaller", "__dict__", "__getattribute__"})
"""By these, code gets at attributes whose names may not be in it."""
CALLED = frozenset({"apply", "batches", "check_labels", "forward", "ignore_index", "set_epoch", "stream"})
"""Methods that Helixband and torch call by name, whatever the class."""
MAKES = frozenset({"__init__", "__new__", "__post_init__"})
"""Methods that are called where a class is."""
NEVER_CALLED = frozenset(
    "__init_subclass__ __class_getitem__ __getstate__ __setstate__ __reduce__ __reduce_ex__ __copy__ "
    "__deepcopy__ __del__ __repr__ __str__".split()
)
"""Methods that are not called as numbers are computed."""
_OF_CLASSES = property, staticmethod, classmethod, MemberDescriptorType, GetSetDescriptorType


class Names(NamedTuple):
    """The names in the code of a function, and of those within it."""

    variables: frozenset[str]
    """Of variables of its module, or of Python."""
    imports: frozenset[str]
    """Of modules that it imports as it is called."""
    accesses: frozenset[tuple[str | None, str]]
    """Of attributes, each with the name of what it is got of, where that is told."""
    looked_into: frozenset[str]
    """Of variables of whose value it may get any attribute."""

    @property
    def attributes(self) -> frozenset[str]:
        """Of attributes alone."""
        return frozenset(name for _, name in self.accesses)


class Reached:
    """The variables that the code of some objects reads, and that of what it finds in these variables.

    A method is taken for called where its name is in code that is reached, or where a library may call it. No
    code of installed libraries is looked into.
    """

    def __init__(self, values: Iterable[Any], caches: frozenset[int] = frozenset()) -> None:
        """`caches` are the ids of functions with a cache that are being looked into."""
        self.variables: dict[str, Read] = {}
        self.spaces: dict[int, Space] = {}
        """The modules and classes that have some of them."""
        self.unseen: str | None = None
        """By what the code may read what is in none of them, if it may."""
        self._caches, self._outside = caches, _outside()
        self.names: set[str] = set()
        """Of attributes, in all code that is reached."""
        self.gets_any = False
        """Whether the code may get attributes of other names."""
        self._seen: set[int] = set()
        """The functions and classes that were looked into."""
        self._taken: set[tuple[int, str]] = set()
        """The variables that were, by what has them."""
        self._spaces: dict[int, tuple[Space, frozenset[str]]] = {}
        """Modules and classes of which code may read any attribute, with those that are called anyway."""
        self._found: list[Any] = []
        for value in values:
            self._look_into(value)
        self._look_by_name()
        while self._found:
            roots = dict(zip(map(str, range(len(self._found))), self._found, strict=True))
            self._found = []
            for _, value in walk(roots, lambda value, path: is_of_training(value)):
                self._look_into(value)
            self._look_by_name()

    def _look_into(self, value: Any) -> None:
        """Find what the code of an object reads."""
        if id(value) in self._outside:
            self._reach(self._outside[id(value)])
        elif isinstance(value, FunctionType):
            self._look_into_function(value)
        elif isinstance(value, type):
            self._enter_class(value, MAKES)
        elif isinstance(value, ModuleType):
            self._enter_module(value)
        elif isinstance(value, MethodType | staticmethod | classmethod):
            self._found.append(value.__func__)
        elif isinstance(value, property):
            self._found += filter(None, (value.fget, value.fset))
        elif isinstance(value, set | frozenset):
            self._found += value
        elif isinstance(value, weakref.ref):
            self._reach("a weak reference")
        elif isinstance(value, BuiltinFunctionType):
            if not isinstance(value.__self__, ModuleType | type | None):
                self._reach(f"a method of a {type(value.__self__).__name__}")
        elif not is_model(value):  # whose methods call each other for much else
            self._enter_class(type(value))
            if isinstance(value, functools._lru_cache_wrapper):
                self._look_into_cache(value)
            elif nature(value) is Nature.FILE:
                self._reach("an open file")

    def _look_into_cache(self, cache: Any) -> None:
        """What it gives was computed by the variables as they were, and does not follow them."""
        if id(cache) not in self._caches:
            inner = Reached([cache.__wrapped__], self._caches | {id(cache)})
            if inner.unseen or not all(is_code(read()) for read in inner.variables.values()):
                self._reach(f"the cache of {cache.__name__}")

    def _reach(self, name: str) -> None:
        if name in ENVIRONMENT:
            self.variables["os.environ"] = lambda: dict(os.environ)
        elif self.unseen is None:
            self.unseen = name

    def _look_into_function(self, function: FunctionType) -> None:
        if id(function) in self._seen or _is_of_a_library(function):
            return
        self._seen.add(id(function))
        names = names_in(function.__code__)
        self.names |= names.attributes
        self.gets_any = self.gets_any or not BY_ANY_NAME.isdisjoint(names.attributes | names.variables)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if name != "__class__":  # which super() is given
                self._add(name, functools.partial(_content, cell), id(cell), names)
        variables = function.__globals__
        for name in sorted(names.variables & variables.keys()):
            if not _is_of_python(name):
                self._add(name, functools.partial(variables.get, name), id(variables), names)
                if (module := _module_of(variables)) is not None:
                    self.spaces[id(module)] = module
        for name in names.variables.intersection(OUTSIDE["builtins"]) - variables.keys():
            self._reach(name)
        for name in names.imports:
            self._import(name, variables, names)

    def _import(self, name: str, variables: Mapping[str, Any], names: Names) -> None:
        """Look into a module that a function with such variables imports."""
        definition = OF_DEFINITIONS.match(str(variables.get("__name__")))
        beside = f"{definition[0]}.{name}".removesuffix(".") if definition else ""
        module = sys.modules.get(beside) or sys.modules.get(name)
        if module is not None:
            self._read_module(name, module, names)
        elif _is_of_a_user(name):
            self._reach(f"the import of {name}")

    def _read_module(self, name: str, module: ModuleType, names: Names) -> None:
        """Look into a module that a function has by this name."""
        if is_known_module(module):
            for value in map(vars(module).get, names.attributes):
                if id(value) in self._outside:
                    self._reach(self._outside[id(value)])
        elif name in names.looked_into:
            self._reach(f"names of the module {name} that are not in its code")
        self._enter_module(module)

    def _enter_module(self, module: ModuleType) -> None:
        if not is_known_module(module):
            self._spaces[id(module)] = module, frozenset()

    def _enter_class(self, kind: type[Any], called: frozenset[str] = frozenset()) -> None:
        """Look into a class, of which these methods are called."""
        if id(kind) in self._seen and not called:
            return
        self._seen.add(id(kind))
        if own := [each for each in kind.__mro__ if not is_known_code(each)]:
            of_libraries = (vars(each) for each in kind.__mro__ if is_known_code(each) and each is not object)
            called |= frozenset[str]().union(*of_libraries) - MAKES
        for each in own:
            before = self._spaces.get(id(each), (each, frozenset[str]()))[1]
            self._spaces[id(each)] = each, before | called
        if not is_known_code(type(kind)):
            self._enter_class(type(kind))

    def _look_by_name(self) -> None:
        """Find what is reached by name in modules and classes."""
        for space, called in list(self._spaces.values()):
            for name, value in list(vars(space).items()):
                if self._is_reached(space, called, name, value):
                    is_class = isinstance(space, type)
                    shown = f"{space.__name__}.{name}" if is_class else name
                    read = functools.partial(_attribute, space, name)
                    self._add(shown, read, id(space if is_class else vars(space)))
                    self.spaces[id(space)] = space

    def _is_reached(self, space: Space, called: frozenset[str], name: str, value: Any) -> bool:
        is_class = isinstance(space, type)
        if _is_of_python(name):
            is_method = is_class and isinstance(value, FunctionType | staticmethod | classmethod)
            return is_method and name not in (NEVER_CALLED if name in called else NEVER_CALLED | MAKES)
        is_called = is_class and (name in called or name in CALLED or self.gets_any)
        return is_called or name in self.names

    def _add(self, name: str, read: Read, place: int, names: Names | None = None) -> None:
        """Add a variable that code with these names reads, of what has this id."""
        if (place, name) in self._taken:
            return
        value = read()
        if not isinstance(value, ModuleType):
            self._taken.add((place, name))
            self._found.append(value)
            self.variables[_unlike(name, self.variables)] = read
        elif names is None:
            self._enter_module(value)
        else:
            self._read_module(name, value, names)


def is_code(value: Any) -> bool:
    """Whether it is a function or a class, in which nothing but itself can be read."""
    if isinstance(value, FunctionType):
        return not (value.__defaults__ or value.__kwdefaults__ or vars(value))
    return isinstance(value, (type, *_OF_CLASSES))


@functools.lru_cache(maxsize=1024)
def names_in(code: CodeType) -> Names:
    """The names in the code of a function."""
    variables, imports, looked_into = set[str](), set[str](), set[str]()
    accesses, before = set[tuple[str | None, str]](), None
    for each in dis.get_instructions(code):
        name, kind = each.argval, each.opname
        if kind in ("PUSH_NULL", "EXTENDED_ARG", "PRECALL"):
            continue
        if kind in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            variables.add(name)
        elif kind == "IMPORT_NAME":
            imports.add(name)
        elif kind in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "IMPORT_FROM"):
            accesses.add((before, name))
            if name == "__dict__" and before is not None:
                looked_into.add(before)
        is_load = kind.startswith("LOAD") and isinstance(name, str)
        if is_load and before in BY_ANY_NAME:
            looked_into.add(name)
        before = name if is_load else None
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            within = names_in(constant)
            variables |= within.variables
            imports |= within.imports
            accesses |= within.accesses
            looked_into |= within.looked_into
    return Names(frozenset(variables), frozenset(imports), frozenset(accesses), frozenset(looked_into))


def _outside() -> dict[int, str]:
    """What reaches the outside, and the environment, by id, with the name."""
    found = {id(vars(os)[name]): name for name in ENVIRONMENT}
    for module, names in OUTSIDE.items():
        held = vars(sys.modules[module]) if module in sys.modules else {}
        found |= {id(held[name]): f"{module}.{name}" for name in names if name in held}
    return found


def _module_of(variables: Mapping[str, Any]) -> ModuleType | None:
    """The module that has these variables."""
    module = sys.modules.get(str(variables.get("__name__")))
    return module if module is not None and vars(module) is variables else None


def _is_of_a_library(function: FunctionType) -> bool:
    """By where its code is: `functools.wraps` gives it the module of another function."""
    module = _module_of(function.__globals__)
    return module is not None and is_known_module(module)


def _is_of_a_user(name: str) -> bool:
    """Whether a module that is not loaded is the user's, if there is one."""
    top = name.partition(".")[0]
    if is_of_helixband(name) or not top:
        return False
    if top in sys.modules:
        return not is_known_module(sys.modules[top])
    spec = importlib.util.find_spec(top)
    return spec is not None and spec.has_location and not is_installed(spec.origin)


def _attribute(space: Space, name: str) -> Any:
    return vars(space).get(name)


def _is_of_python(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _unlike(name: str, others: Mapping[str, Any]) -> str:
    while name in others:
        name = f"{name}'"
    return name


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled
        return None
