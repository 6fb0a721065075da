"""Dicts, tuples and lists of leaves."""

from collections import OrderedDict, namedtuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helixband.nested import leaves, length, map_leaves, zip_leaves

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
