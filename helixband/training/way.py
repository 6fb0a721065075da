"""In which way the steps of an epoch were computed."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any


class Way(StrEnum):
    """How the steps of a model are computed; a string, so that JSON holds it."""

    ALONE = "one by one"
    """By the model's own train_step."""
    PACKED = "packed"
    """With those of other trials, where there are any; dropout has masks by seed and step."""
    CAPTURED = "captured"
    """As packed ones, many in one block."""


def ways_in(state: Mapping[str, Any]) -> list[Way]:
    """Those of the epochs of a training, as its state has them."""
    return [Way(each) for each in state.get("ways", [Way.ALONE] * state["epoch"])]


def as_state(ways: Sequence[Way]) -> dict[str, Any]:
    """What a state has of them: nothing where all were computed one by one."""
    return {} if {*ways} == {Way.ALONE} else {"ways": [str(each) for each in ways]}
