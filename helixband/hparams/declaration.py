"""The declaration of one hyperparameter."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from helixband.errors import DefinitionError, UsageError, in_one_line
from helixband.hparams.kinds import Kind, canonical, copied, kind_of, plain
from helixband.hparams.ranges import Range, Search

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z0-9][A-Za-z0-9_]*)*")
"""A dot leads into the nodes of a YAML experiment; no class body can have one."""


class Hparam:
    """One hyperparameter of a class: `owner`, `name`, `short`, `default`, `help`, `search` and `kind`.

    It is the class's attribute of its name, and on an instance reads as the value.
    """

    owner: type[Any]
    name: str
    kind: Kind

    def __init__(self, default: Any, help: str, short: str, search: Any) -> None:
        self._default, self.help, self.short = default, help, short
        self.search: Search | None = search

    @property
    def default(self) -> Any:
        """The value where none is given; of a list, a new one."""
        return copied(self._default)

    def __set_name__(self, owner: type[Any], name: str) -> None:
        if "name" not in vars(self):  # else it is another's, which the class of `owner` tells
            self.owner, self.name = owner, name
            self.short = self.short or name

    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        return self if instance is None else instance[self.name]

    def __set__(self, instance: Any, value: Any) -> None:
        raise AttributeError(f"{self}: hyperparameters cannot be set; replace() gives others")

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.name}"

    def settle(self, annotation: Any) -> None:
        """Take the type, and hold the rest of the declaration against it; raises `DefinitionError`."""
        for word in (self.name, self.short):
            if not NAME.fullmatch(word):
                raise DefinitionError(
                    f"{self}: the name {word!r} has to begin with a letter, and to have ASCII letters, "
                    "digits and _ alone"
                )
        if not isinstance(self.help, str) or not self.help.strip():
            raise DefinitionError(f"{self}: the help is empty; say what the hyperparameter is")
        try:
            self.kind = kind_of(annotation)
        except ValueError as error:
            raise DefinitionError(f"{self}: the type is {annotation}; {error}") from None
        if self._default is not None:
            self._default = self._declared(self._default, "the default")
        if self.search is not None:
            self.search = self.search_of(self.search)

    def value(self, value: Any, where: str = "") -> Any:
        """A value in its one form, the default for None; raises `UsageError`, `where` in front."""
        if value is None:
            return self.default
        try:
            return self.kind.check(value)
        except ValueError as error:
            raise UsageError(f"{where or self} is {in_one_line(value)}; {error}") from None

    def read(self, text: str, where: str) -> Any:
        """The value of a text; of any type but strings, `null` and `None` are None. Raises `UsageError`."""
        try:
            return self.kind.read(text)
        except ValueError as error:
            if text in ("null", "None"):
                return None
            raise UsageError(f"{where} is {in_one_line(text)}; {error} ({self}: {self.help})") from None

    def is_default(self, value: Any) -> bool:
        """Whether it is exactly the default; a schedule is no number."""
        return canonical(plain(value)) == canonical(plain(self.default))

    def search_of(self, search: Any) -> Search:
        """A list of its values, or a range as its type has it; raises `DefinitionError` for another."""
        if isinstance(search, Mapping):
            search = Range.from_json(search)
        if isinstance(search, Range):
            return self._range(search)
        if not isinstance(search, Sequence) or isinstance(search, str) or not search:
            raise DefinitionError(
                f"{self}: search is {in_one_line(search)}; it has to be a list of values or a Range"
            )
        values = [self._declared(value, "a value of search") for value in search]
        if len({canonical(plain(value)) for value in values}) < len(values):
            raise DefinitionError(f"{self}: search is {in_one_line(search)}, which has a value twice")
        return values

    def _declared(self, value: Any, what: str) -> Any:
        try:
            return self.kind.check(value)
        except ValueError as error:
            raise DefinitionError(f"{self}: {what} is {in_one_line(value)}; {error}") from None

    def _range(self, search: Range) -> Range:
        numbers = [search.low, search.high, *([] if search.step is None else [search.step])]
        if self.kind.name == "int":
            if any(type(number) is not int for number in numbers):
                raise DefinitionError(f"{self}: search is {search}; of an int, it has whole numbers")
            low, high = (self._declared(end, "an end of search") for end in numbers[:2])
            return replace(search, low=low, high=high, step=search.step or 1)
        if self.kind.name != "float":
            raise DefinitionError(f"{self}: search is {search}; a {self.kind.name} is searched in a list")
        return replace(
            search,
            low=float(search.low),
            high=float(search.high),
            step=None if search.step is None else float(search.step),
        )


def hparam(default: Any, help: str, *, short: str = "", search: Any = None) -> Any:
    """Declare a hyperparameter in a class of `Hparams`, behind its name and type.

    `short` is its name in paths, by default the name itself. `search` is what a search draws it from: a list
    of values or a `Range`. The default may be None, which no other value is.
    """
    return Hparam(default, help, short, search)
