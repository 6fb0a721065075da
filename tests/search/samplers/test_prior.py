"""What draws tell of a space: which configurations are near to each other."""

import math
import random

import numpy as np
import pytest
from hyperopt import hp

from helixband.search.samplers.density import RandomWords
from helixband.search.samplers.prior import Neighbourhood, Prior, flatten
from helixband.search.samplers.tpe import HyperoptSpace


def prior_of(space):
    """By 1,000 draws, in four sets."""
    genomes = np.concatenate([space.genomes(250, seed) for seed in range(4)])
    return Prior([space.document(genome) for genome in genomes])


def opaque():
    config = {
        "lr": 10 ** random.uniform(-4, -2),
        "units": random.randint(1, 10**6),
        "decay": random.choice([0.0, random.uniform(0, 0.1)]),
        "grid": round(random.random(), 3),
        "kind": random.choice(["a", "b"]),
    }
    return config | ({"momentum": [random.random(), 1.0]} if config["kind"] == "b" else {})


OPAQUE = prior_of(RandomWords(opaque))
A = {"lr": 1e-3, "units": 5, "decay": 0.0, "grid": 0.5, "kind": "a"}
B = A | {"decay": 0.05, "kind": "b", "momentum": [0.5, 1.0]}


def near(prior, config, *others):
    return prior.position(config) in Neighbourhood(map(prior.position, others))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (A, A),
        (A, dict(reversed(A.items()))),
        (A, A | {"lr": 1.004e-3}),  # .9 thousandths of the two decades
        (B, B | {"lr": 1.003e-3, "decay": 0.05005, "momentum": [0.5004, 1.0]}),
    ],
)
def test_what_differs_in_no_float_by_a_thousandth_of_its_cdf_is_near(one, other):
    assert near(OPAQUE, one, other)
    assert near(OPAQUE, other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (A, A | {"lr": 1.02e-3}),
        (A, A | {"units": 6}),
        (A, A | {"decay": 1e-9}),  # none at all is something else than a little
        (A, A | {"grid": 0.501}),
        (A, A | {"kind": "c"}),
        (A, A | {"more": 1}),
        (A, {name: value for name, value in A.items() if name != "units"}),
        (A, A | {"lr": 1}),
        (B, B | {"momentum": [0.51, 1.0]}),
        (B, B | {"momentum": [0.5, 2.0]}),
        (B, B | {"momentum": [0.5]}),
        (B, B | {"momentum": 0.5}),
    ],
)
def test_what_differs_by_more_or_in_anything_else_is_not_near(one, other):
    assert not near(OPAQUE, one, other)
    assert not near(OPAQUE, other, one)


def test_it_is_enough_to_be_near_to_one_of_many():
    others = [A | {"lr": lr, "decay": decay} for lr in (1e-4, 1e-3, 9e-3) for decay in (0.02, 0.05, 0.08)]
    assert near(OPAQUE, A | {"decay": 0.08001}, *others)
    assert not near(OPAQUE, A | {"decay": 0.07}, *others)
    assert not near(OPAQUE, A)


def test_of_expressions_those_that_are_quantised_are_not_smoothed():
    prior = prior_of(
        HyperoptSpace(
            lambda: {
                "rate": hp.loguniform("rate", math.log(1e-6), 0),
                "noise": hp.normal("noise", 0, 1),
                "width": hp.quniform("width", 0, 3000, 1),
                "count": hp.qloguniform("count", 0, math.log(500), 0.5),
                "drawn": hp.randint("drawn", 2**31 - 1),
            }
        )
    )
    config = {"rate": 1e-3, "noise": 0.0, "width": 1000.0, "count": 400.0, "drawn": 7}
    assert near(prior, config, config | {"rate": 1.01e-3, "noise": 0.002})
    for other in ({"rate": 1.02e-3}, {"noise": 0.005}, {"width": 1001.0}, {"count": 400.5}, {"drawn": 8}):
        assert not near(prior, config, config | other)


def test_values_beyond_all_draws_are_near_to_each_other():
    assert near(OPAQUE, A | {"lr": 1.0}, A | {"lr": 2.0})


def test_a_value_that_was_never_drawn_is_compared_as_it_is():
    prior = Prior([{"x": 0.5}])
    assert not near(prior, {"y": 0.1}, {"y": 0.1000001})
    assert not near(prior, {"x": 0.1}, {"x": 0.1000001})
    assert near(prior, {"y": 0.1}, {"y": 0.1})


def test_leaves_have_names():
    assert dict(flatten({"a": [1, {"b": []}], "c": {}})) == {"/a/0": 1, "/a/1/b": [], "/c": {}}
