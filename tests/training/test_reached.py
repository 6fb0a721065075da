"""Variables that a network reads are found by whatever way its code comes to them."""

import ctypes
import functools
import importlib
import io
import math
import os
import sys
import weakref
from array import array
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from test_packed import Function, X, Y, assert_alike, make, of_network
from torch import Tensor

from batch_generator import MatrixBatchGenerator
from helixband.training.fit import fit
from helixband.training.member import Member
from helixband.training.steps.captured import Captured
from helixband.training.steps.described import described
from helixband.training.steps.eager import Eager
from helixband.training.steps.packed import Packed
from helixband.training.steps.reached import Reached

HELD = [1.0]


class Method:
    def value(self) -> float:
        return HELD[0]


class Called:
    def __call__(self, x: Tensor) -> Tensor:
        return x * HELD[0]


class OfProperty:
    @property
    def value(self) -> float:
        return HELD[0]


class Descriptor:
    def __get__(self, holder: Any, kind: Any) -> float:
        return HELD[0]


class Described:
    value = Descriptor()


class Meta(type):
    @property
    def value(cls) -> float:
        return HELD[0]


class OfMeta(metaclass=Meta):
    pass


class Dynamic:
    def first(self) -> float:
        return HELD[0]


def scale(x: Tensor) -> Tensor:
    return x * HELD[0]


def positional(x: Tensor, held: Any = HELD) -> Tensor:
    return x * float(held[0])


def by_keyword(x: Tensor, *, held: Any = HELD) -> Tensor:
    return x * float(held[0])


def with_attribute(x: Tensor) -> Tensor:
    return x * float(with_attribute.held[0])  # type: ignore[attr-defined]


with_attribute.held = HELD  # type: ignore[attr-defined]


def closing(held: list[float]) -> Callable[[Tensor], Tensor]:
    return lambda x: x * held[0]


@functools.wraps(np.mean)
def under_another_name(x: Tensor) -> Tensor:
    return x * HELD[0]


METHOD, CALLED, OF_PROPERTY, DESCRIBED, DYNAMIC = Method(), Called(), OfProperty(), Described(), Dynamic()
BY_NAME = {"scale": scale, "closing": closing(HELD), "partial": functools.partial(scale)}
IN_A_SET = {scale}
BOUND = METHOD.value
WITHOUT_GRADIENTS = torch.no_grad()(METHOD.value)
NAME = "first"

WAYS = {
    "a method": lambda x: x * METHOD.value(),
    "a call": lambda x: CALLED(x),
    "a property": lambda x: x * OF_PROPERTY.value,
    "a descriptor": lambda x: x * DESCRIBED.value,
    "a metaclass": lambda x: x * OfMeta.value,
    "an object that is made": lambda x: Called()(x),
    "a bound method": lambda x: x * BOUND(),
    "a function in a dict": lambda x: BY_NAME["scale"](x),
    "a closure in a dict": lambda x: BY_NAME["closing"](x),
    "a partial in a dict": lambda x: BY_NAME["partial"](x),
    "a function in a set": lambda x: next(iter(IN_A_SET))(x),
    "a default": lambda x: positional(x),
    "a default that has to be named": lambda x: by_keyword(x),
    "an attribute of a function": lambda x: with_attribute(x),
    "a function that is wrapped by a library": lambda x: x * WITHOUT_GRADIENTS(),
    "a function that is called as a library's": under_another_name,
    "an attribute by any name": lambda x: x * getattr(DYNAMIC, NAME)(),
}
"""Functions that read what is in `HELD`, each by another way."""


def member_of(function: Callable[[Tensor], Tensor], change: Callable[[], None] | None = None) -> Member:
    """One whose network computes a function, with a change at the end of each epoch."""
    kind = of_network(lambda config: Function(function))
    methods = {"on_epoch_end": lambda model, row: change()} if change else {}
    return make(1, type("Model", (kind,), methods))


def told_of(function: Callable[[Tensor], Tensor], change: Callable[[], None] | None = None) -> list[str]:
    """Why its steps are not captured, of a member that comes to what it comes to without that."""
    told: list[str] = []
    members = []
    for each in (Eager(), Captured(*[lambda member, reason: told.append(reason)] * 2)):
        HELD[0] = 1.0
        members.append(member_of(function, change))
        fit(members[-1:], each)
    assert_alike(*members)
    return told


def change() -> None:
    HELD[0] *= 0.3


@pytest.mark.parametrize("way", WAYS)
def test_a_variable_that_changes_is_found_by_whatever_way_it_is_read(way: str) -> None:
    assert told_of(WAYS[way], change) == []


class Changing(MatrixBatchGenerator):
    """Changes what the network reads, with each batch."""

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            change()
            yield batch


def test_a_variable_that_changes_within_an_epoch_is_named() -> None:
    told = []
    member = member_of(WAYS["a method"])
    member.train = Changing(X, Y, 8)
    fit([member], Captured(None, lambda member, reason: told.append(reason)))
    assert told == ["its network or loss reads the variable HELD, which changes"]


def twice(x: Tensor) -> Tensor:
    return 2 * x


def thrice(x: Tensor) -> Tensor:
    return 3 * x


FUNCTION = twice


def test_a_function_that_another_one_takes_the_place_of_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def replace() -> None:
        HELD[0] += 1
        monkeypatch.setitem(globals(), "FUNCTION", thrice if HELD[0] == 2 else twice)

    assert told_of(lambda x: FUNCTION(x), replace) == []


@pytest.mark.parametrize(
    "read", [lambda x: x * float(os.environ["SCALE"]), lambda x: x * float(os.getenv("SCALE", ""))]
)
def test_a_variable_of_the_environment_is_seen(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def change() -> None:
        HELD[0] *= 0.3
        monkeypatch.setenv("SCALE", str(HELD[0]) if HELD[0] > 0.05 else "1")

    monkeypatch.setenv("SCALE", "1")
    assert told_of(read, change) == []


def imported_late(x: Tensor) -> Tensor:
    import helper_of_test_reached

    return x * helper_of_test_reached.SCALE  # type: ignore[no-any-return]


def test_a_module_that_is_imported_within_a_function_is_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "helper_of_test_reached.py").write_text("SCALE = 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert Reached([imported_late]).unseen == "the import of helper_of_test_reached"
    helper = importlib.import_module("helper_of_test_reached")

    def change() -> None:
        HELD[0] *= 0.3
        monkeypatch.setattr(helper, "SCALE", HELD[0] if HELD[0] > 0.05 else 1.0)

    assert told_of(imported_late, change) == []
    monkeypatch.delitem(sys.modules, "helper_of_test_reached")


@functools.lru_cache
def remembered() -> float:
    return HELD[0]


@functools.lru_cache
def of_its_argument(number: int) -> float:
    return math.sqrt(number)


def read_file(x: Tensor) -> Tensor:
    with open(os.devnull) as file:
        return x * (1.0 + len(file.read()))


class Reading:
    """Reads a file where it is made, or asked to, and not as it is called."""

    def __init__(self) -> None:
        self.scale = 2.0 + len(Path(os.devnull).read_text())

    def load(self) -> None:
        self.scale = float(np.load("scale.npy"))

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.scale


class ReadingNetwork(Function):
    def __init__(self) -> None:
        super().__init__(lambda x: x)
        self.scale = 2.0 + len(Path(os.devnull).read_text())

    def __repr__(self) -> str:
        return Path(os.devnull).read_text()


READING = Reading()
LOG = io.StringIO()
WEAKLY = weakref.ref(READING)
GET = {"scale": 2.0}.get
UNSEEN = {
    "a weak reference": lambda x: WEAKLY()(x),  # type: ignore[misc]
    "a method of a dict": lambda x: x * GET("scale"),
    "globals": lambda x: x * globals()["HELD"][0],
    "open": read_file,
    "numpy.load": lambda x: x * np.load("scale.npy"),
    "the cache of remembered": lambda x: x * remembered(),
    "an open file": lambda x: x * len(LOG.getvalue()),
    "names of the module torch_of_test that are not in its code": lambda x: x * getattr(torch_of_test, NAME),  # type: ignore[name-defined] # noqa: F821
}


def test_what_cannot_be_seen_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "torch_of_test", ModuleType("torch_of_test"))
    assert [Reached([function]).unseen for function in UNSEEN.values()] == list(UNSEEN)
    told = "its network or loss uses open, so that what it reads cannot be seen"
    assert told_of(read_file) == [told]
    packed: list[str] = []
    kind = of_network(lambda config: Function(read_file))
    fit([make(seed, kind) for seed in (1, 2)], Packed(lambda member, reason: packed.append(reason)))
    assert packed == [told] * 2


def test_code_that_is_not_called_as_numbers_are_computed_does_not_count() -> None:
    assert told_of(READING) == []
    assert told_of(lambda x: READING(x) * of_its_argument(4)) == []
    assert Reached([ReadingNetwork()]).unseen is None


@pytest.mark.parametrize(
    ("make_holder", "change"),
    [
        (lambda held: MappingProxyType(held), lambda holder, held: held.update(a=2.0)),
        (lambda held: held.values(), lambda holder, held: held.update(a=2.0)),
        (lambda held: array("d", [1.0]), lambda holder, held: holder.append(2.0)),
        (lambda held: ContextVar("held", default=held), lambda holder, held: holder.set({"a": 2.0})),
        (lambda held: ctypes.c_double(1.0), lambda holder, held: setattr(holder, "value", 2.0)),
        (lambda held: Attributes(), lambda holder, held: setattr(holder, "scale", 2.0)),
        (lambda held: closing([1.0]), lambda holder, held: setattr(holder, "scale", 2.0)),
    ],
)
def test_a_change_in_what_such_an_object_holds_is_seen(make_holder: Any, change: Any) -> None:
    held = {"a": 1.0}
    holder = make_holder(held)
    before = described(holder)
    assert described(holder) == before
    change(holder, held)
    assert described(holder) != before


class Attributes(dict[str, Any]):
    """A dict with attributes besides its items."""
