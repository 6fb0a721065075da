"""Snapshots: what objects hold is afterwards as before, in place."""

import io
import types
import weakref
from collections import OrderedDict, deque
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from helixband.training import snapshot
from helixband.training.snapshot import Snapshot


class Thing:
    """An object with attributes."""

    count = 0

    def __init__(self, **held: Any) -> None:
        vars(self).update(held)


def test_containers_get_the_items_back_that_they_held() -> None:
    array = np.arange(3)
    held: dict[str, Any] = {
        "list": [array, [1, 2]],
        "dict": {"b": 1, "a": 2},
        "ordered": OrderedDict(x=1, y=2),
        "set": {1, 2},
        "deque": deque([1, 2, 3], maxlen=3),
        "bytes": bytearray(b"ab"),
    }
    thing = Thing(**held)
    before = Snapshot({"thing": thing})
    thing.list.pop(0)
    thing.list[0].append(3)
    thing.dict["a"] = thing.dict.pop("b")
    thing.ordered.move_to_end("x")
    thing.set.clear()
    thing.deque.append(4)
    thing.bytes.extend(b"c")
    assert before.put_back() == (True, [])
    assert thing.list[0] is array
    assert thing.list[1] == [1, 2]
    assert list(thing.dict.items()) == [("b", 1), ("a", 2)]
    assert list(thing.ordered) == ["x", "y"]
    assert (thing.set, list(thing.deque), bytes(thing.bytes)) == ({1, 2}, [1, 2, 3], b"ab")
    assert before.put_back() == (False, [])


def test_attributes_and_arrays_within_other_objects_are_put_back() -> None:
    inner = Thing(epoch=0, counter=np.zeros(1), made_of=torch.ones(2))
    before = Snapshot({"wrapper": Thing(inner=inner)})
    inner.epoch += 1
    inner.count += 1
    inner.counter += 1
    inner.made_of.zero_()
    inner.later = "new"
    assert before.put_back() == (True, [])
    assert (inner.epoch, inner.counter.tolist(), inner.made_of.tolist()) == (0, [0.0], [1.0, 1.0])
    assert vars(inner).keys() == {"epoch", "counter", "made_of"}


def test_what_cannot_be_asked_for_its_class_is_left_alone() -> None:
    class Silent:
        def __getattribute__(self, name: str) -> Any:
            raise AttributeError(name)

    gone = weakref.proxy(Thing())
    thing = Thing(silent=Silent(), gone=gone, count=0)
    before = Snapshot({"thing": thing})
    thing.count += 1
    assert before.put_back() == (True, [])
    assert thing.count == 0


def test_a_network_gets_its_weights_and_parts_back() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    state = {name: value.clone() for name, value in network.state_dict().items()}
    before = Snapshot({"network": network})
    network(torch.ones(4, 2)).sum().backward()
    network.eval()
    network.append(nn.ReLU())
    with torch.no_grad():
        network[0].weight.mul_(0.5)
    assert before.put_back() == (True, [])
    assert len(network) == 2
    assert network.training
    assert network[0].weight.grad is None
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_names_of_modules_and_classes_are_put_back() -> None:
    module = types.ModuleType("module")
    vars(module).update(number=0, Kind=type("Kind", (), {"number": 0}))
    before = Snapshot({}, [module, module.Kind])
    module.number, module.later, module.Kind.number, module.Kind.later = 1, 2, 3, 4
    assert before.put_back() == (True, [])
    assert (module.number, module.Kind.number) == (0, 0)
    assert not hasattr(module, "later")
    assert not hasattr(module.Kind, "later")


def test_a_file_is_read_from_the_same_place_again() -> None:
    file = io.StringIO("one\ntwo\n")
    before = Snapshot({"file": file})
    next(file)
    assert before.put_back() == (True, [])
    assert file.read() == "one\ntwo\n"


def test_random_numbers_are_put_back_and_are_no_change() -> None:
    random = np.random.default_rng(3)
    before = Snapshot({"thing": Thing(random=random)})
    first = random.random()
    assert before.put_back() == (False, [])
    assert random.random() == first


def test_what_is_too_large_is_told_where_it_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "ROOM", 8 * 3)
    thing = Thing(small=np.zeros(3), large=np.zeros(4), same=np.zeros(4))
    before = Snapshot({"thing": thing})
    thing.small += 1
    thing.large += 1
    assert before.put_back() == (True, ["thing.large"])
    assert (thing.small.tolist(), thing.large.tolist()) == ([0.0] * 3, [1.0] * 4)
