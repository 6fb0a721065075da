"""What holds of every sampler, in every kind of space."""

import json
import math
import random
from pkgutil import resolve_name

import numpy as np
import pytest
import torch
from hyperopt import hp

from helixband.errors import DefinitionError, UsageError
from helixband.search.samplers import SAMPLERS
from helixband.search.samplers.choice import make_sampler
from helixband.search.samplers.evidence import Evidence
from helixband.training.configuration import canonical


def huge():
    return {"code": random.getrandbits(60), "far": random.getrandbits(1500), "text": f"{random.random():.3f}"}


def other_keys():
    return {f"key{random.randrange(10**6)}": random.random(), "depth": random.randint(1, 3)}


def nested():
    width = int(np.random.randint(8, 65))
    return {
        "layers": [{"width": width, "act": random.choice(["relu", None])}, [float(torch.rand(()))]],
        "n": 3,
    }


def hyperopt_nested():
    return {
        "optimizer": hp.choice("optimizer", [{"name": "adam"}, {"name": "sgd", "m": hp.uniform("m", 0, 1)}]),
        "layers": [hp.quniform("width", 8, 64, 8), {"rate": (hp.loguniform("rate", -4, 0), "fixed")}],
    }


def beside_literals():
    return {"lr": hp.loguniform("lr", -7, -1), "units": random.choice([16, 32]), "noise": np.random.rand()}


def changing_ranges():
    space = {"x": hp.uniform("x", 0, random.choice([1, 10])), "kind": random.choice("ab")}
    if space["kind"] == "a":
        space["only_a"] = hp.randint("only_a", 5)
    return space


def huge_hyperopt():
    return {
        "code": hp.randint("code", 2**31 - 1),
        "key": hp.choice("key", [{f"k{i}": i} for i in range(300)]),
    }


OPAQUE = [huge, other_keys, nested]
EXPRESSIONS = [hyperopt_nested, beside_literals, changing_ranges, huge_hyperopt]
SPACES = {"function": OPAQUE, "expressions": EXPRESSIONS, "any": [*OPAQUE, *EXPRESSIONS]}
SPACE_OF = {kind: resolve_name(place).space for kind, place in SAMPLERS.items()}
WITH_SAMPLERS = [(space, kind) for kind in SAMPLERS for space in SPACES[SPACE_OF[kind]]]


def searched(sampler, trials, reward=lambda config: 0.0, evidence=None):
    """The configurations of a search without rungs, until there is none."""
    evidence = evidence or Evidence()
    configs = []
    for trial in range(trials):
        config = sampler.suggest(trial, evidence)
        if config is None:
            break
        configs.append(config)
        evidence.add(trial, config, 1, reward(config))
    return configs


@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_sampler_has_its_name_on_the_command_line(kind):
    assert make_sampler(kind, SPACES[SPACE_OF[kind]][0], seed=0).name == kind


@pytest.mark.parametrize(("space", "kind"), [(nested, "density"), (hyperopt_nested, "tpe")])
def test_auto_is_the_first_sampler_made_for_spaces_of_the_kind(space, kind):
    assert make_sampler("auto", space, seed=0).name == kind


@pytest.mark.parametrize(("space", "kind"), WITH_SAMPLERS)
def test_each_configuration_is_new_plain_and_the_seeds_alone(space, kind):
    def reward(config):
        return len(canonical(config))

    configs = searched(make_sampler(kind, space, seed=4), 40, reward)
    assert len(set(map(canonical, configs))) == 40
    assert json.loads(json.dumps(configs)) == configs
    assert searched(make_sampler(kind, space, seed=4), 40, reward) == configs
    assert searched(make_sampler(kind, space, seed=5), 40, reward) != configs


@pytest.mark.parametrize(("space", "kind"), WITH_SAMPLERS)
def test_a_suggestion_needs_no_history_of_the_sampler(space, kind):
    evidence = Evidence()
    configs = searched(make_sampler(kind, space, seed=0), 20, len, evidence)
    used = make_sampler(kind, space, seed=1)
    used.suggest(20, evidence)
    pending = [used.suggest(21, evidence)]
    found = used.suggest(30, evidence, pending)
    assert found == make_sampler(kind, space, seed=1).suggest(30, evidence, pending)
    assert found not in configs + pending


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("finished", [0, 12])
def test_neither_finished_nor_pending_ones_are_suggested_again(kind, finished):
    def opaque():
        return {"x": random.randrange(40)}

    def expression():
        return {"x": hp.randint("x", 40)}

    sampler = make_sampler(kind, expression if SPACE_OF[kind] == "expressions" else opaque, seed=0)
    evidence, pending = Evidence(), []
    searched(sampler, finished, lambda config: config["x"], evidence)
    while (config := sampler.suggest(finished + len(pending), evidence, pending)) is not None:
        pending.append(config)
    assert sorted(c["x"] for c in [*evidence.configs(), *pending]) == list(range(40))


@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_space_without_dimensions_or_with_one_value_ends_after_one(kind):
    needs_expressions = SPACE_OF[kind] == "expressions"

    def one():
        return {"x": hp.choice("x", ["only"]) if needs_expressions else random.choice(["only"])}

    assert searched(make_sampler(kind, one, seed=0), 3) == [{"x": "only"}]
    if not needs_expressions:
        assert searched(make_sampler(kind, dict, seed=0), 3) == [{}]


def test_random_draws_need_no_results():
    sampler = make_sampler("random", nested, seed=0)
    evidence = Evidence()
    configs = searched(sampler, 5, len, evidence)
    assert sampler.suggest(5, Evidence(), configs) == sampler.suggest(5, evidence)
    assert [sampler.uses_evidence, make_sampler("auto", nested, 0).uses_evidence] == [False, True]


def test_a_literal_beside_expressions_is_drawn_anew_and_modelled():
    def reward(config):
        return config["units"] + config["noise"] - abs(math.log10(config["lr"]) + 2)

    configs = searched(make_sampler("tpe", beside_literals, seed=0), 80, reward)
    assert {config["units"] for config in configs[:10]} == {16, 32}
    assert len({config["noise"] for config in configs}) > 40
    assert sum(config["units"] == 32 for config in configs[40:]) > 30
    assert np.median([config["noise"] for config in configs[40:]]) > 0.7
    assert (
        np.median([abs(math.log10(config["lr"]) + 2) for config in configs[40:]]) < 0.3
    )  # of random draws: 0.66


def test_a_range_that_was_drawn_holds():
    def drawn():
        high = random.choice([1, 2, 5])
        return {"high": high, "x": hp.uniform("x", 0, high), "y": hp.uniform("y", high, 10)}

    for config in searched(make_sampler("tpe", drawn, seed=0), 60, lambda config: config["x"]):
        assert 0 <= config["x"] <= config["high"] <= config["y"] <= 10


def test_expressions_in_some_draws_alone_make_it_a_space_of_expressions():
    def now_and_then():
        return {"x": hp.uniform("x", 0, 1)} if random.random() < 0.5 else {"y": random.random()}

    configs = searched(make_sampler("auto", now_and_then, seed=0), 30, lambda config: config.get("x", 0))
    assert {frozenset(config) for config in configs} == {frozenset("x"), frozenset("y")}


@pytest.mark.parametrize("kind", ["random", "auto"])
def test_a_value_that_json_has_no_form_for_is_refused_by_its_key(kind):
    with pytest.raises(DefinitionError, match=r"\['layers'\]\[1\] is \{1\} \(set\)"):
        make_sampler(kind, lambda: {"layers": [random.random(), {1}]}, seed=0).suggest(0, Evidence())


def test_the_other_kind_of_space_is_refused():
    with pytest.raises(UsageError, match="has no hyperopt expressions; take density, or auto"):
        make_sampler("tpe", nested, seed=0)
    with pytest.raises(UsageError, match="has hyperopt expressions; take tpe, or auto"):
        make_sampler("density", beside_literals, seed=0)
