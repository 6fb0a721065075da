"""`Hparams`: a class of hyperparameters, and what they are set to."""

import argparse
import difflib
import inspect
import random
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

from helixband.errors import DefinitionError, UsageError, in_one_line
from helixband.hparams import flags
from helixband.hparams.declaration import Hparam
from helixband.hparams.kinds import canonical, copied, plain
from helixband.hparams.labels import part
from helixband.hparams.ranges import Range, Search, drawn


class UnknownHyperparameter(UsageError, KeyError, AttributeError):
    """A name that is not declared; of the kinds of error that a mapping and an object raise for one."""

    __str__ = Exception.__str__


class Hparams(Mapping[str, Any]):
    """Hyperparameters by name, as a subclass declares them; its instances are values for all of them.

    An instance is made from a mapping, from keywords, or both. What is missing has its default, and so has
    what is None. It cannot be changed. It reads as a mapping and by attributes. Raises `UsageError` for a
    name that is not declared, and for a value that its type does not have.

    A class that derives from several has the hyperparameters of all, in their order.
    """

    version: ClassVar[int] = 1
    """Raised where a default or a meaning changes. A collection's has all raises of the classes in it."""
    _raised: ClassVar[int] = 0
    _fields: ClassVar[dict[str, Hparam]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = vars(cls).get("version", 1)
        if type(own) is not int or own < 1:
            raise DefinitionError(f"{cls.__name__}.version is {own!r}; it has to be a whole number from 1")
        cls._raised = own - 1
        cls.version = 1 + sum(vars(base).get("_raised", 0) for base in cls.__mro__)
        _settle_own(cls)
        cls._fields = _collected(cls)

    def __init__(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        if not isinstance(values, Mapping | None):
            raise UsageError(
                f"{type(self).__name__} is made from {in_one_line(values)}; give a mapping, or values by "
                "name; parse() takes a command line"
            )
        given = {**(values or {}), **named}
        for name in given:
            self.field(name)
        complete = {name: field.value(given.get(name)) for name, field in self._fields.items()}
        object.__setattr__(self, "_values", complete)

    _values: dict[str, Any]

    # The class.

    @classmethod
    def fields(cls) -> dict[str, Hparam]:
        """The declarations by name: those of each class together, in the order of the bases."""
        return dict(cls._fields)

    @classmethod
    def field(cls, name: str) -> Hparam:
        """The declaration of a name; raises `UsageError` with the nearest where there is none."""
        if name in cls._fields:
            return cls._fields[name]
        near = [field.name for field in cls._fields.values() if field.short == name]
        form = str(name).lower().replace("-", "_")
        near = near or difflib.get_close_matches(form, cls._fields, 1)
        meant = f"did you mean {near[0]}? It" if near else "it"
        raise UnknownHyperparameter(
            f"{cls.__name__} has no hyperparameter {name!r}; {meant} has {', '.join(cls._fields) or 'none'}"
        )

    @classmethod
    def parser(cls) -> flags.HparamParser:
        """A parser with a flag for each hyperparameter, one group a class, and `--set NAME=VALUE`.

        It raises `UsageError` for what is wrong. `flags.texts` reads its namespace.
        """
        parser = flags.HparamParser(prog=cls.__name__, formatter_class=argparse.RawDescriptionHelpFormatter)
        flags.add_flags(parser, cls._fields)
        flags.add_set(parser)
        return parser

    @classmethod
    def parse(cls, argv: str | Sequence[str]) -> Self:
        """The hyperparameters of a command line: its words, or one text that is split as a shell does it.

        Raises `UsageError` for an unknown flag and for a value that does not fit.
        """
        try:
            words = shlex.split(argv) if isinstance(argv, str) else argv
        except ValueError as error:
            raise UsageError(f"the command line {in_one_line(argv)} cannot be split: {error}") from None
        parsed = cls.parser().parse_args(words)
        return cls(flags.given(flags.texts(parsed), parsed.set, cls.field))

    @classmethod
    def space(cls, fixed: Iterable[str] = ()) -> dict[str, Search]:
        """What is searched, by name: a list or a `Range`; without the names (or keys) of `fixed`."""
        names = {cls.field(name).name for name in fixed}
        return {
            name: copied(field.search)
            for name, field in cls._fields.items()
            if field.search is not None and name not in names
        }

    @classmethod
    def draw(cls, source: random.Random, fixed: Mapping[str, Any] | None = None) -> Self:
        """Random values of what is searched, but for the fixed ones; of all others, the defaults."""
        return cls({**drawn_from(cls.space(fixed or {}), source.random), **(fixed or {})})

    # The values.

    def replace(self, /, **values: Any) -> Self:
        """These, with other values for some; None is the default."""
        return type(self)({**self._values, **values})

    def changed(self) -> dict[str, Any]:
        """The values that differ from the default."""
        return {name: self[name] for name, field in self._fields.items() if not self._is_default(field)}

    def argv(self, also: Collection[str] = ()) -> list[str]:
        """The words of a command line that give the changed values, to main.py or `parse`.

        `also`: names whose values are given though they are the defaults, as where a search or get_config()
        would choose others.
        """
        return [
            word
            for name, field in self._fields.items()
            if name in also or not self._is_default(field)
            for word in flags.words(field, self[name])
        ]

    def args(self) -> str:
        """`argv()` as one text, quoted for a shell."""
        return shlex.join(self.argv())

    def path(self) -> str:
        """Their label: the version, then a folder for each class with changed values.

        It has ASCII letters, digits and `._-+=,~/` alone. Equal hyperparameters have equal paths.
        """
        owners: dict[type[Any], list[tuple[Hparam, Any]]] = {}
        for name, field in self._fields.items():
            if not self._is_default(field):
                owners.setdefault(field.owner, []).append((field, self._values[name]))
        return "/".join([f"v{self.version}", *map(part, owners.values())])

    def to_json(self) -> dict[str, Any]:
        """All values, defaults included, as JSON has them; the class makes the same of it again."""
        return {name: plain(value) for name, value in self._values.items()}

    def _is_default(self, field: Hparam) -> bool:
        return field.is_default(self._values[field.name])

    def __getitem__(self, name: str) -> Any:
        self.field(name)
        return copied(self._values[name])

    def __getattr__(self, name: str) -> Any:  # of a name that there is not
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return self[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be set; replace() gives other values")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        # By their texts: a schedule equals no number, and 1 is not true.
        return type(other) is type(self) and canonical(self.to_json()) == canonical(other.to_json())

    def __hash__(self) -> int:
        return hash(canonical(self.to_json()))

    def __repr__(self) -> str:
        changed = ", ".join(f"{name}={value!r}" for name, value in self.changed().items())
        return f"{type(self).__name__}({changed})"


def drawn_from(space: Mapping[str, Search], share: Callable[[], float]) -> dict[str, Any]:
    """A random value of each search; `share` gives uniform numbers in [0, 1), one for each."""
    return {name: drawn(search, share()) for name, search in space.items()}


def log_scaled(space: Mapping[str, Search]) -> list[str]:
    """The names of what is drawn on a log scale."""
    return [name for name, search in space.items() if isinstance(search, Range) and search.log]


_RESERVED = {*dir(Hparams), *vars(Hparams)["__annotations__"]}


def _settle_own(cls: type[Hparams]) -> None:
    """Check what the body of a class declares; raises `DefinitionError`."""
    try:
        annotations = inspect.get_annotations(cls, eval_str=True)
    except (NameError, SyntaxError, AttributeError, TypeError) as error:
        raise DefinitionError(f"{cls.__name__}: a type cannot be read: {error}") from None
    declared = {name: value for name, value in vars(cls).items() if isinstance(value, Hparam)}
    for name in annotations.keys() - declared.keys() - {"version"}:
        raise DefinitionError(
            f"{cls.__name__}.{name} has a type and no declaration; write {name}: … = hparam(default, help)"
        )
    for name, field in declared.items():
        if name in _RESERVED:
            raise DefinitionError(f"{field}: Hparams itself has the attribute {name}; choose another name")
        if name not in annotations:
            raise DefinitionError(f"{field} has no type; write {name}: float = hparam(…)")
        if (field.owner, field.name) != (cls, name):
            raise DefinitionError(
                f"{cls.__name__}.{name} is {field}; write an hparam(…) of its own for each, or inherit"
            )
        field.settle(annotations[name])


def _collected(cls: type[Hparams]) -> dict[str, Hparam]:
    """The fields of the bases in order, then the own ones; raises `DefinitionError` for a clash."""
    found: dict[str, Hparam] = {}
    words: dict[str, Hparam] = {}
    _check_mixed_in(cls)
    bases = [base for base in cls.__bases__ if issubclass(base, Hparams)]
    inherited = [field for base in bases for field in base._fields.values()]
    declared = [value for value in vars(cls).values() if isinstance(value, Hparam)]
    for field in [*inherited, *declared]:
        for word in (field.name, field.short):
            other = words.setdefault(word, field)
            if other is not field:
                raise DefinitionError(
                    f"{cls.__name__}: {other} and {field} are both called {word!r}; a name or short name "
                    "belongs to one hyperparameter of one class. Rename one of them"
                )
        found[field.name] = field
    for name, field in found.items():
        owner = next(base for base in cls.__mro__ if name in vars(base))
        if vars(owner)[name] is not field:
            raise DefinitionError(
                f"{owner.__name__}.{name} overrides {field} in {cls.__name__}; a class adds alone"
            )
    return found


def _check_mixed_in(cls: type[Hparams]) -> None:
    """Raise `DefinitionError` for a hyperparameter of a base that is no class of hyperparameters."""
    for base in cls.__mro__:
        for value in vars(base).values():
            if isinstance(value, Hparam) and not issubclass(base, Hparams):
                raise DefinitionError(f"{value} is a hyperparameter; derive {base.__name__} from Hparams")


class HparamCollection(Hparams):
    """`Hparams` under the name for classes that put others together and may add none of their own."""
