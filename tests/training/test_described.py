"""What a network holds is described by its value: a change in place is seen."""

from collections import deque
from typing import Any

import numpy as np
import pytest
from torch import nn

from helixband.training.steps.described import described
from helixband.training.steps.packable import of_network


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: float) -> None:
        self.value = value


class Scale:
    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, x: Any) -> Any:
        return x * self.value

    def method(self, x: Any) -> Any:
        return x + self.value


def test_a_change_in_place_of_what_a_network_holds_is_seen() -> None:
    slotted, scale, queue, numbers = Slotted(1.0), Scale(1.0), deque([1.0]), {1.0}
    raw, objects, of_method = bytearray(b"1"), np.array([1.0, None], object), Scale(1.0)
    held = [slotted, scale, queue, numbers, raw, objects, of_method.method, [Slotted(1.0)]]
    before = [described(each) for each in held]
    assert before == [described(each) for each in held]
    slotted.value = scale.value = of_method.value = held[-1][0].value = 2.0
    queue.append(2.0)
    numbers.add(2.0)
    raw[0] = 50
    objects[0] = 2.0
    now = [described(each) for each in held]
    assert [one == other for one, other in zip(before, now, strict=True)] == [False] * len(held)


@pytest.mark.parametrize("tied", [lambda weight: nn.Parameter(weight.data), lambda weight: weight])
def test_parameters_at_one_place_in_memory_are_named(tied: Any) -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[1].weight = tied(network[0].weight)
    is_one = network[1].weight is network[0].weight
    told = [] if is_one else ["0.weight and 1.weight of its network are at one place in memory"]
    assert list(of_network(network)) == told


def test_networks_of_their_own_memory_are_taken() -> None:
    assert list(of_network(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Embedding(3, 2)))) == []
