"""An opaque get_config() is modelled by its draws."""

import math
import random

import numpy as np
import pytest
import torch
from samplers_toys import seconds_of_a_suggestion

from helixband.search.samplers.density import DensityModel, DensitySampler, RandomWords
from helixband.search.samplers.evidence import Evidence


def mixed():
    """Nested, conditional, of odd types, from three generators."""
    config = {
        "lr": 10 ** random.uniform(-4, -1),
        "layers": [int(np.random.randint(8, 65))] * random.randint(1, 3),
    }
    config["optimizer"] = {"name": random.choice(["sgd", "adam", None])}
    if config["optimizer"]["name"] == "sgd":
        config["optimizer"]["momentum"] = float(torch.rand(()))
    return config


def holds(config):
    """Whether `mixed` can have drawn this."""
    optimizer = config["optimizer"]
    return (
        1e-4 <= config["lr"] <= 0.1
        and len(set(config["layers"])) == 1
        and ("momentum" in optimizer) == (optimizer["name"] == "sgd")
    )


def searched(sampler, trials, reward):
    """The configurations of a search without rungs."""
    evidence, configs = Evidence(), []
    for trial in range(trials):
        configs.append(sampler.suggest(trial, evidence))
        evidence.add(trial, configs[-1], 1, reward(configs[-1]))
    return configs


def test_good_values_are_found():
    def reward(config):
        return -abs(math.log10(config["lr"]) + 3.5) + (config["optimizer"]["name"] == "adam")

    configs = searched(DensitySampler(mixed, seed=0), 80, reward)
    late = configs[40:]
    assert all(map(holds, configs))
    assert np.median([abs(math.log10(config["lr"]) + 3.5) for config in late]) < 0.5  # of random draws: 0.75
    assert sum(config["optimizer"]["name"] == "adam" for config in late) > 30


def test_constraints_between_values_hold():
    def draw():
        low = random.random()
        return {"low": low, "high": random.uniform(low, 1)}

    configs = searched(DensitySampler(draw, seed=1), 60, lambda config: config["low"] - config["high"])
    assert all(config["low"] <= config["high"] for config in configs)
    assert np.median([config["high"] - config["low"] for config in configs[30:]]) < 0.2


def test_a_suggestion_depends_on_its_arguments_alone():
    evidence = Evidence()
    for trial, config in enumerate(searched(DensitySampler(mixed, seed=5), 20, lambda config: config["lr"])):
        evidence.add(trial, config, 1, config["lr"])
    used = DensitySampler(mixed, seed=0)
    used.suggest(20, evidence)
    random.seed(99)
    first = used.suggest(33, evidence)
    assert first == DensitySampler(mixed, seed=0).suggest(33, evidence)
    assert first != DensitySampler(mixed, seed=1).suggest(33, evidence)
    assert first != used.suggest(34, evidence)


def test_a_suggestion_does_not_depend_on_those_before_it():
    evidence = Evidence()
    for trial, config in enumerate(searched(DensitySampler(mixed, seed=5), 15, lambda config: config["lr"])):
        evidence.add(trial, config, 1, config["lr"])
    used = DensitySampler(mixed, seed=0)
    found = {trial: used.suggest(trial, evidence) for trial in (170, 20)}
    for trial, config in found.items():
        assert config == DensitySampler(mixed, seed=0).suggest(trial, evidence)


def test_as_the_search_goes_on_there_are_other_candidates():
    evidence = Evidence()
    for trial in range(20):
        evidence.add(trial, {"x": trial / 20}, 1, -abs(trial / 20 - 0.3))
    sampler = DensitySampler(lambda: {"x": random.random()}, seed=0)
    early, late = ({sampler.suggest(t, evidence)["x"] for t in range(at, at + 40)} for at in (50, 100))
    assert len(early) < 40 and len(late) < 40  # they come from a thousand draws
    assert not early & late


def test_no_two_configurations_of_two_hyperparameters_are_near():
    def draw():
        return {"lr": 10 ** random.uniform(-4, -2), "units": random.choice([32, 64, 128])}

    def reward(config):
        return -abs(math.log10(config["lr"]) + 3.2) - abs(config["units"] - 64) / 64

    for seed in range(3):
        sampler, evidence, configs = DensitySampler(draw, seed), Evidence(), []
        for trial in range(49):
            configs.append(sampler.suggest(trial, evidence, configs[max(trial - 8, 0) :]))
            if trial >= 8:
                evidence.add(trial - 8, configs[trial - 8], 1, reward(configs[trial - 8]))
        for units in (32, 64, 128):
            lrs = np.sort([math.log10(config["lr"]) / 2 for config in configs if config["units"] == units])
            assert len(lrs) > 1 and np.diff(lrs).min() > 1e-3
        assert sum(abs(math.log10(config["lr"]) + 3.2) < 0.2 for config in configs) > 15  # random: 10


def test_random_draws_are_not_near_to_a_trial_either():
    pending = [{"x": 0.002 * trial} for trial in range(400)]  # below 0.8 all is near to one of them
    sampler = DensitySampler(lambda: {"x": random.random()}, seed=0)
    found = [sampler.suggest(trial, Evidence(), pending)["x"] for trial in range(400, 410)]
    assert min(found) > 0.798


def test_where_everything_is_near_to_a_trial_there_is_still_something_new():
    evidence = Evidence()
    for trial in range(600):
        evidence.add(trial, {"x": (trial + 0.5) / 600}, 1, float(trial))
    sampler = DensitySampler(lambda: {"x": random.random()}, seed=0)
    found = [sampler.suggest(trial, evidence) for trial in range(600, 610)]
    assert None not in found
    assert len({config["x"] for config in [*found, *evidence.configs()]}) == 610
    assert max(config["x"] for config in found) - min(config["x"] for config in found) > 0.5  # random draws


def test_equal_floats_alone_exhaust_a_space():
    def draw():
        return {"x": random.choice([0.1, 0.1000001, 0.2]), "y": round(random.random(), 1)}

    sampler, evidence = DensitySampler(draw, seed=0), Evidence()
    while (config := sampler.suggest(len(evidence), evidence)) is not None:
        evidence.add(len(evidence), config, 1, config["x"])
    assert len({(config["x"], config["y"]) for config in evidence.configs()}) == len(evidence) == 33


def test_the_global_generators_are_left_as_they_were():
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    expected = random.random(), np.random.rand(), torch.rand(())
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    searched(DensitySampler(mixed, seed=0), 12, lambda config: 0.0)
    assert (random.random(), np.random.rand(), torch.rand(())) == expected


def test_words_that_are_not_exchanged_give_the_same_values():
    space = RandomWords(lambda: {"a": random.random(), "b": random.random(), "c": float(np.random.rand())})
    one, other = space.genomes(2, seed=0)
    mixed_words = one.copy()
    mixed_words[2:4] = other[2:4]  # a float takes two words
    assert space.document(mixed_words) == {**space.document(one), "b": space.document(other)["b"]}


def test_draws_made_together_are_spread_evenly():
    space = RandomWords(lambda: {"a": random.random(), "b": np.random.rand(), "c": random.getrandbits(32)})
    drawn = [space.document(genome) for genome in space.genomes(50, seed=0)]
    assert sorted(int(config["a"] * 50) for config in drawn) == list(range(50))
    assert sorted(int(config["b"] * 50) for config in drawn) == list(range(50))
    assert sorted(config["c"] * 50 // 2**32 for config in drawn) == list(range(50))
    single = [space.document(space.genomes(1, seed)[0])["a"] for seed in range(200)]
    assert np.histogram(single, 4, (0, 1))[0] == pytest.approx([50] * 4, abs=25)


def test_the_places_of_a_genome_are_the_words_that_are_drawn():
    def draw():
        return {"a": random.random(), "b": float(np.random.rand()), "c": torch.rand(()).item()}

    def places(draw):
        space = RandomWords(draw)
        return space.places(space.genomes(1, seed=0)[0])

    assert places(draw) == [0, 1, 624, 625, 1248]
    assert places(lambda: {"a": random.random()}) == [0, 1]
    assert places(dict) == []
    assert len(places(lambda: {"a": [random.random() for _ in range(400)]})) == 624


def test_where_all_have_failed_what_failed_is_avoided():
    evidence = Evidence()
    for trial in range(30):
        evidence.add(trial, {"x": 0.5 + trial / 60}, 1, -math.inf)
    sampler = DensitySampler(lambda: {"x": random.random()}, seed=0)
    found = [sampler.suggest(trial, evidence)["x"] for trial in range(30, 60)]
    assert np.mean([x < 0.5 for x in found]) > 0.8


def test_suggestions_differ_where_little_is_known_and_agree_where_much_is():
    def spread(trials):
        evidence = Evidence()
        for trial in range(trials):
            x = (trial + 0.5) / trials
            evidence.add(trial, {"x": x}, 1, -abs(x - 0.3))
        sampler = DensitySampler(lambda: {"x": random.random()}, seed=0)
        found = [sampler.suggest(trials + trial, evidence)["x"] for trial in range(40)]
        return np.quantile(found, 0.75) - np.quantile(found, 0.25)

    assert spread(400) < 0.6 * spread(10)


def test_what_is_drawn_more_often_is_not_better_for_it():
    model = DensityModel([{"n": n} for n in [1] * 70 + [2] * 20 + [3] * 10])
    nothing = np.empty((0, 1), np.int64)
    assert model.log_ratio(nothing, nothing, np.ones((1, 1)))[0, :3] == pytest.approx([0, 0, 0])
    one_each = model.encode([{"n": 1}, {"n": 3}])
    ratio = model.log_ratio(one_each[:1], one_each[1:], np.ones((2, 1)))[0]
    assert ratio[0] > 0 > ratio[2]


def test_failures_and_pending_ones_are_avoided():
    def draw():
        return {"x": random.random()}

    evidence = Evidence()
    for trial in range(30):
        x = trial / 30
        evidence.add(trial, {"x": x}, 1, -math.inf if x > 0.5 else 0.0)
    pending = [{"x": i / 500} for i in range(30)]
    sampler = DensitySampler(draw, seed=0)
    alone = [sampler.suggest(trial, evidence)["x"] for trial in range(30, 60)]
    beside = [sampler.suggest(trial, evidence, pending)["x"] for trial in range(30, 60)]
    assert np.median(alone) < 0.3
    assert sum(x < 0.06 for x in beside) < sum(x < 0.06 for x in alone)


def test_pending_ones_do_not_count_toward_the_first_trials():
    sampler = DensitySampler(lambda: {"x": random.random()}, seed=0)
    first = sampler.suggest(7, Evidence())
    assert sampler.suggest(7, Evidence(), [{"x": i / 100} for i in range(50)]) == first


def test_a_space_without_dimensions_holds_one_configuration():
    assert searched(DensitySampler(dict, seed=0), 2, lambda config: 0.0) == [{}, None]


def test_a_small_space_is_exhausted_without_repeats():
    sampler = DensitySampler(lambda: {"x": random.randrange(14), "same": 1}, seed=0)
    evidence, found = Evidence(), []
    while (config := sampler.suggest(len(found), evidence)) is not None:
        evidence.add(len(found), config, 1, float(config["x"]))
        found.append(config["x"])
    assert sorted(found) == list(range(14))


def test_a_huge_discrete_space_with_other_keys_each_time():
    def draw():
        return {f"key{random.randrange(10**6)}": random.getrandbits(60)}

    configs = searched(DensitySampler(draw, seed=0), 15, lambda config: 0.0)
    assert len({str(config) for config in configs}) == 15


def test_the_ratio_by_example():
    model = DensityModel([{"kind": kind} for kind in "ab" * 50])
    good, rest = np.array([[0]]), np.array([[1], [1], [1]])
    ratio = np.exp(model.log_ratio(good, rest, weights=np.ones((2, 1)))[0])
    # one prior draw's weight: (1 + 0.5) / 2 over (0 + 0.5) / 4, and 0.5 / 2 over 3.5 / 4
    assert ratio[:2] == pytest.approx([6, 2 / 7], rel=0.01)


def test_a_suggestion_takes_under_20_ms_with_a_thousand_trials():
    assert seconds_of_a_suggestion(DensitySampler(mixed, seed=0), RandomWords(mixed)) < 0.02
