"""Dicts, tuples, lists and dataclasses of leaves."""

import copy
from collections import Counter, OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helixband.nested import items, leaves, length, map_leaves, named_leaves, nbytes, zip_leaves

Pair = namedtuple("Pair", ["left", "right"])

structures = st.recursive(
    st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=8,
)


def kinds(nested: Any) -> Any:
    """The types of a structure, without its leaves."""
    if isinstance(nested, dict):
        return dict, {key: kinds(value) for key, value in nested.items()}
    if isinstance(nested, tuple | list):
        return type(nested), [kinds(value) for value in nested]
    return "leaf"


def test_each_leaf_is_mapped_in_its_place() -> None:
    nested = {"a": [1, (2,)], "b": Pair(3, {"c": 4})}
    assert map_leaves(str, nested) == {"a": ["1", ("2",)], "b": Pair("3", {"c": "4"})}
    assert map_leaves(str, 1) == "1"


def test_leaves_come_in_order_depth_first() -> None:
    assert list(leaves({"b": [1, (2, Pair(3, 4))], "a": 5})) == [1, 2, 3, 4, 5]
    assert list(leaves(OrderedDict(a=1))) == [1]
    assert list(leaves("text")) == ["text"]
    assert list(leaves([])) == []


def test_structures_alike_are_zipped_leaf_by_leaf() -> None:
    parts = [{"a": (1, Pair(2, 3))}, {"a": (10, Pair(20, 30))}, {"a": (100, Pair(200, 300))}]
    assert zip_leaves(sum, parts) == {"a": (111, Pair(222, 333))}
    assert zip_leaves(list, [1, 2]) == [1, 2]


def test_the_order_of_keys_may_differ_between_structures() -> None:
    assert zip_leaves(list, [{"a": 1, "b": 2}, {"b": 20, "a": 10}]) == {"a": [1, 10], "b": [2, 20]}


@pytest.mark.parametrize("other", [{"a": (1,)}, {"b": (1, 2)}])
def test_structures_that_differ_are_an_error(other: Any) -> None:
    with pytest.raises((KeyError, ValueError)):
        zip_leaves(list, [{"a": (1, 2)}, other])


@settings(deadline=None)
@given(nested=structures)
def test_mapping_keeps_the_structure_and_the_order(nested: Any) -> None:
    doubled = map_leaves(lambda leaf: 2 * leaf, nested)
    assert kinds(doubled) == kinds(nested)
    assert list(leaves(doubled)) == [2 * leaf for leaf in leaves(nested)]
    assert zip_leaves(sum, [nested, nested]) == doubled


def test_the_length_is_that_of_the_first_leaf() -> None:
    assert length(np.zeros((3, 5))) == 3
    assert length({"a": (np.zeros((3, 5)), np.zeros(3))}) == 3


class ByAttribute(OrderedDict[str, Any]):
    """As the outputs of many libraries: items are attributes, too."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        super().__setattr__(key, value)


class OneNamespace(dict[str, Any]):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.__dict__ = self


class ReadsItems(dict[str, Any]):
    __getattr__ = dict.get
    __setattr__ = dict.__setitem__


class TakesAnother(dict[str, Any]):
    """Made of something else than its items, and has more than these."""

    def __init__(self, unit: str) -> None:
        self.unit = unit

    def __getattr__(self, name: str) -> Any:
        return self[name]


@dataclass
class Record:
    a: Any
    b: Any = None


@dataclass(frozen=True, slots=True)
class Frozen:
    a: Any
    doubled: Any = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "doubled", 2 * self.a)


def in_meters(**values: Any) -> TakesAnother:
    made = TakesAnother("m")
    made.update(values)
    return made


@pytest.mark.parametrize(
    "nested",
    [
        ByAttribute(a=1, b=2),
        OneNamespace(a=1, b=2),
        ReadsItems(a=1, b=2),
        in_meters(a=1, b=2),
        defaultdict(list, a=1, b=2),
        Counter(a=1, b=2),
        OrderedDict(a=1, b=2),
        Record(1, 2),
    ],
    ids=lambda nested: type(nested).__name__,
)
def test_what_is_made_is_of_the_kind_of_what_it_is_made_of(nested: Any) -> None:
    before = copy.copy(dict(items(nested)))
    tenfold = map_leaves(lambda leaf: 10 * leaf, nested)
    zipped = zip_leaves(sum, [nested, tenfold])
    for made, values in ((tenfold, {"a": 10, "b": 20}), (zipped, {"a": 11, "b": 22})):
        assert type(made) is type(nested)
        assert dict(items(made)) == values
        if not type(nested).__module__.startswith("collections"):
            assert {"a": made.a, "b": made.b} == values
    assert dict(items(nested)) == before
    assert list(named_leaves({"x": nested})) == [(".x.a", 1), (".x.b", 2)]
    assert list(leaves([nested, 3])) == [1, 2, 3]


def test_what_else_a_container_holds_stays() -> None:
    made = map_leaves(str, in_meters(a=1))
    assert (made.unit, made.a) == ("m", "1")
    assert map_leaves(str, defaultdict(list, a=1))["more"] == []
    frozen = map_leaves(lambda leaf: leaf + 1, Frozen(1))
    assert (frozen.a, frozen.doubled) == (2, 3)
    both = map_leaves(lambda leaf: leaf + 1, Record([1, 2], Record(3, ByAttribute(a=4))))
    assert (both.a, both.b.a, both.b.b.a) == ([2, 3], 4, 5)


def test_what_torch_gives_by_name_keeps_its_names() -> None:
    found = map_leaves(torch.Tensor.float, torch.max(torch.tensor([[1, 3, 2]]), 1))
    assert (found.values.tolist(), found.indices.tolist()) == ([3.0], [1.0])
    assert found.indices.dtype is torch.float32


def test_a_class_is_a_leaf_though_its_objects_are_not() -> None:
    assert map_leaves(str, Record) == str(Record)
    assert length(Record(np.zeros((3, 2)))) == 3


def test_a_field_that_is_none_is_no_part() -> None:
    assert list(leaves(Record(None, 1))) == [1]
    assert map_leaves(str, Record(None, 1)) == Record(None, "1")
    assert zip_leaves(sum, [Record(1), Record(2)]) == Record(3)
    assert nbytes({"a": Record(np.zeros(3), np.zeros(2))}) == 40
