"""A space of hyperopt expressions is modelled by its labels."""

import json
import math

import numpy as np
import pytest
from hyperopt import hp
from hyperopt.pyll import scope
from samplers_toys import seconds_of_a_suggestion

from helixband.errors import DefinitionError
from helixband.search.samplers.evidence import Evidence
from helixband.search.samplers.tpe import HyperoptSpace, TpeSampler


def mixed():
    """Every kind of expression that can be nested."""
    return {
        "lr": hp.loguniform("lr", math.log(1e-4), math.log(0.1)),
        "depth": hp.uniformint("depth", 1, 5),
        "width": scope.int(hp.qloguniform("width", math.log(16), math.log(512), 16)),
        "optimizer": hp.choice(
            "optimizer", [{"name": "adam"}, {"name": "sgd", "momentum": hp.uniform("momentum", 0, 1)}]
        ),
        "norm": hp.pchoice("norm", [(0.2, None), (0.8, "batch")]),
        "scales": [hp.normal("scale", 0, 1), 3],
        "kernel": 2 ** hp.randint("kernel", 4) + 1,
        "seed": 7,
    }


def searched(sampler, trials, reward):
    evidence, configs = Evidence(), []
    for trial in range(trials):
        configs.append(sampler.suggest(trial, evidence))
        evidence.add(trial, configs[-1], 1, reward(configs[-1]))
    return configs


def test_good_values_are_found_and_conditions_hold():
    def reward(config):
        return -abs(math.log10(config["lr"]) + 3.5) + config["optimizer"].get("momentum", 0)

    configs = searched(TpeSampler(mixed, seed=0), 80, reward)
    late = configs[40:]
    assert all(("momentum" in c["optimizer"]) == (c["optimizer"]["name"] == "sgd") for c in configs)
    assert np.median([abs(math.log10(config["lr"]) + 3.5) for config in late]) < 0.5  # of random draws: 0.75
    assert np.median([config["optimizer"].get("momentum", 0) for config in late]) > 0.6


def test_values_are_plain_and_in_range():
    for config in searched(TpeSampler(mixed, seed=0), 30, lambda config: config["lr"]):
        assert json.loads(json.dumps(config)) == config
        assert list(config) == list(mixed())
        assert type(config["depth"]) is int and 1 <= config["depth"] <= 5
        assert type(config["width"]) is int and config["width"] % 16 == 0
        assert config["norm"] in (None, "batch") and config["scales"][1] == 3
        assert config["kernel"] in (2, 3, 5, 9) and config["seed"] == 7


def test_the_prior_is_that_of_the_expressions():
    space = HyperoptSpace(mixed)
    drawn = [space.document(genome) for genome in space.genomes(2000, seed=0)]
    assert np.mean([config["norm"] == "batch" for config in drawn]) == pytest.approx(0.8, abs=0.04)
    assert np.mean([math.log10(config["lr"]) for config in drawn]) == pytest.approx(-2.5, abs=0.08)
    depths = np.bincount([config["depth"] for config in drawn])[1:]
    assert depths == pytest.approx(
        [250, 500, 500, 500, 250], abs=80
    )  # hyperopt rounds what is uniform on [1, 5]


def test_draws_made_together_are_spread_evenly():
    space = HyperoptSpace(lambda: {"x": hp.uniform("x", 0, 1), "n": hp.normal("n", 0, 1)})
    drawn = [space.document(genome) for genome in space.genomes(100, seed=0)]
    even = (np.arange(100) + 0.5) / 100
    assert np.sort([config["x"] for config in drawn]) == pytest.approx(even, abs=0.03)
    normal = [(1 + math.erf(config["n"] / math.sqrt(2))) / 2 for config in drawn]
    assert np.sort(normal) == pytest.approx(even, abs=0.03)
    single = [space.document(space.genomes(1, seed)[0])["x"] for seed in range(200)]
    assert np.histogram(single, 4, (0, 1))[0] == pytest.approx([50] * 4, abs=25)


def test_no_two_configurations_of_two_hyperparameters_are_near():
    def space():
        return {
            "lr": hp.loguniform("lr", math.log(1e-4), math.log(1e-2)),
            "units": hp.choice("units", [1, 2]),
        }

    for seed in range(3):
        configs = searched(TpeSampler(space, seed), 49, lambda c: c["units"] - abs(math.log10(c["lr"]) + 3.2))
        for units in (1, 2):
            lrs = np.sort([math.log10(config["lr"]) / 2 for config in configs if config["units"] == units])
            assert len(lrs) > 1 and np.diff(lrs).min() > 1e-3


def test_a_suggestion_does_not_depend_on_those_before_it():
    evidence = Evidence()
    for trial, config in enumerate(searched(TpeSampler(mixed, seed=5), 15, lambda config: config["lr"])):
        evidence.add(trial, config, 1, config["lr"])
    used = TpeSampler(mixed, seed=0)
    found = {trial: used.suggest(trial, evidence) for trial in (170, 20)}
    for trial, config in found.items():
        assert config == TpeSampler(mixed, seed=0).suggest(trial, evidence)


def test_quantised_values_next_to_each_other_are_all_tried():
    sampler, evidence = TpeSampler(lambda: {"x": hp.quniform("x", 0, 30, 1)}, seed=0), Evidence()
    while (config := sampler.suggest(len(evidence), evidence)) is not None:
        evidence.add(len(evidence), config, 1, config["x"])
    assert sorted(config["x"] for config in evidence.configs()) == list(range(31))


def test_a_suggestion_depends_on_its_arguments_alone():
    evidence = Evidence()
    for trial, config in enumerate(searched(TpeSampler(mixed, seed=5), 20, lambda config: config["lr"])):
        evidence.add(trial, config, 1, config["lr"])
    used = TpeSampler(mixed, seed=0)
    used.suggest(20, evidence)
    first = used.suggest(33, evidence)
    assert first == TpeSampler(mixed, seed=0).suggest(33, evidence)
    assert first != TpeSampler(mixed, seed=1).suggest(33, evidence)


def test_a_space_with_one_value_or_none_ends():
    assert searched(TpeSampler(lambda: {"x": hp.choice("x", ["only"])}, seed=0), 2, lambda config: 0.0) == [
        {"x": "only"},
        None,
    ]
    assert searched(TpeSampler(dict, seed=0), 2, lambda config: 0.0) == [{}, None]


def test_two_expressions_with_one_label_are_refused():
    with pytest.raises(DefinitionError, match="label 'x'"):
        TpeSampler(lambda: {"a": hp.uniform("x", 0, 1), "b": hp.uniform("x", 0, 2)}, seed=0)


def test_a_value_that_cannot_be_stored_is_refused_by_name():
    with pytest.raises(DefinitionError, match="'f'"):
        TpeSampler(lambda: {"f": hp.choice("f", [math.nan])}, seed=0).suggest(0, Evidence())


def test_a_suggestion_takes_under_20_ms_with_a_thousand_trials():
    assert seconds_of_a_suggestion(TpeSampler(mixed, seed=0), HyperoptSpace(mixed)) < 0.02
