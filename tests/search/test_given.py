"""Values that are fixed in a search, and configurations that it begins with."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Project
from hyperopt import hp

from helixband.errors import UsageError
from helixband.search.given import check_tries, distinct, fixed, read_tries, sample
from helixband.search.samplers.choice import make_sampler
from helixband.search.samplers.evidence import Evidence

SEARCH = ("--hyper", "--epoch", "3", "--batch-size", "20")


def plain() -> dict[str, Any]:
    return {"lr": 10 ** random.uniform(-4, -1), "units": random.choice([4, 8, 16]), "drop": random.random()}


def conditional() -> dict[str, Any]:
    kind = random.choice(["cnn", "rnn"])
    return {"kind": kind, "lr": random.random(), ("filters" if kind == "cnn" else "hidden"): random.random()}


def expressions() -> dict[str, Any]:
    return {
        "lr": hp.loguniform("lr", -9, -2),
        "units": hp.choice("units", [4, 8, 16]),
        "net": hp.choice("net", [{"kind": "cnn", "width": hp.uniform("width", 0, 1)}, {"kind": "rnn"}]),
    }


def mixed() -> dict[str, Any]:
    kind = random.choice(["cnn", "rnn"])
    return {
        "kind": kind,
        "lr": hp.uniform("lr", 0, 1),
        f"{kind}_units": hp.quniform(f"{kind}_units", 4, 64, 4),
    }


@pytest.mark.parametrize(
    ("get_config", "sampler"),
    [(plain, "random"), (plain, "density"), (expressions, "random"), (expressions, "tpe")],
)
def test_what_is_fixed_stays_and_the_rest_is_tuned(
    get_config: Callable[[], dict[str, Any]], sampler: str
) -> None:
    chosen = make_sampler(sampler, fixed(get_config, {"units": 8, "lr": 0.0125}, 0), 0)
    evidence, found = Evidence(), []
    for trial in range(14):  # some by the model
        config = chosen.suggest(trial, evidence)
        assert config is not None
        evidence.add(trial, config, 1, random.Random(trial).random())
        found.append(config)

    assert {(config["units"], config["lr"]) for config in found} == {(8, 0.0125)}
    assert [list(config) for config in found] == [list(get_config())] * 14
    assert len({json.dumps(config) for config in found}) == 14


@pytest.mark.parametrize(
    ("get_config", "values", "keys"),
    [
        (conditional, {"kind": "rnn"}, {"kind", "lr", "hidden"}),
        (conditional, {"filters": 0.5}, {"kind", "lr", "filters"}),
        (conditional, {"kind": "cnn", "filters": 0.5, "lr": 1}, {"kind", "lr", "filters"}),
        (mixed, {"kind": "cnn"}, {"kind", "lr", "cnn_units"}),
        (mixed, {"rnn_units": 5}, {"kind", "lr", "rnn_units"}),
        (expressions, {"net": {"kind": "cnn", "width": 2}}, {"lr", "units", "net"}),
    ],
)
def test_what_depends_on_a_fixed_value_fits_it(
    get_config: Callable[[], dict[str, Any]], values: dict[str, Any], keys: set[str]
) -> None:
    found = sample(fixed(get_config, values, 0), 1)
    assert all(config.keys() == keys and values.items() <= config.items() for config in found)


def test_a_fixed_value_that_no_configuration_can_have_is_refused() -> None:
    with pytest.raises(UsageError, match="'unit'; it draws lr, units, drop"):
        fixed(plain, {"unit": 8}, 0)
    both = fixed(conditional, {"kind": "cnn", "hidden": 0.5}, 0)
    with pytest.raises(UsageError, match='--set kind="cnn" --set hidden=0.5: .* none has these together'):
        both()


def test_true_is_no_one() -> None:
    def get_config() -> dict[str, Any]:
        return {"flag": random.choice([True, False])}

    assert {config["flag"] for config in sample(fixed(get_config, {"flag": 1}, 0), 0)} == {1}
    assert all(config["flag"] is not True for config in sample(fixed(get_config, {"flag": 1}, 0), 0))


@pytest.mark.parametrize(
    ("get_config", "tried", "message"),
    [
        (plain, {"lr": 0.1, "units": 5}, "configuration 2 lacks drop; it has to have the keys of a conf"),
        (
            plain,
            {"lr": 1, "units": 5, "drop": 0, "n": 2},
            "configuration 2 has n besides; it has",
        ),
        (conditional, {"kind": "cnn", "lr": 0.1}, "configuration 2 lacks (filters|hidden); it has to"),
        (
            expressions,
            {"lr": 1, "units": 4, "net": {"kind": "cnn", "w": 1}},
            r"2\['net'\] has w besides",
        ),
        (
            expressions,
            {"lr": 1, "units": 4, "net": "cnn"},
            r"2\['net'\] is 'cnn'; get_config",
        ),
    ],
)
def test_a_configuration_of_other_keys_than_those_drawn_is_refused(
    get_config: Callable[[], dict[str, Any]], tried: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        check_tries("f.json", [sample(get_config, 7)[0], tried], get_config, {}, 0)


def test_a_configuration_has_to_agree_with_what_is_fixed() -> None:
    tried = {"lr": 0.1, "units": 5, "drop": 0.5}
    check_tries("f.json", [tried], plain, {"units": 5}, 0)
    with pytest.raises(UsageError, match="configuration 1 has units=5, and --set fixes units=8"):
        check_tries("f.json", [tried], plain, {"units": 8}, 0)


def test_the_same_configuration_is_tried_once() -> None:
    one, other = {"a": 1, "b": 2}, {"a": 1.5, "b": 2}
    found, notes = distinct([one, other, {"b": 2, "a": 1}])
    assert found == [one, other]
    assert notes == ["--try: configuration 3 is the same as configuration 1, and left out"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "not JSON"),
        ("[]", "holds no configuration"),
        ('[{"a": 1}, 2]', "configuration 2 is 2; it has to be an object"),
        ('{"a": NaN}', r"configuration 1\['a'\] is nan"),
        ('{"a": 1, "a": 2}', "the key 'a' twice"),
    ],
)
def test_a_file_that_holds_no_configurations_is_refused(tmp_path: Any, text: str, message: str) -> None:
    (tmp_path / "try.json").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_tries(str(tmp_path / "try.json"))


def configs(project: Project) -> list[dict[str, Any]]:
    return [event["config"] for event in project.journal() if event["event"] == "trial"]


@pytest.mark.parametrize("schedule", ["hyperband", "asha"])
def test_a_search_with_fixed_values_and_known_configurations_goes_on_with_the_same_alone(
    project: Project, schedule: str
) -> None:
    tries = [{"lr": 0.01, "units": 5}, {"lr": 0.5, "units": 5}]
    (project.path / "try.json").write_text(json.dumps([*tries, tries[0]]))
    given = ("--set", "units=5", "--try", str(project.path / "try.json"), "--schedule", schedule)
    done = project.run(*SEARCH, *given)
    assert (done.code, done.err) == (0, "")
    assert "--try: configuration 3 is the same as configuration 1, and left out" in done.out
    assert "fixed by --set: units=5" in done.out
    assert configs(project)[:2] == tries
    assert len(configs(project)) == 5
    assert {config["units"] for config in configs(project)} == {5}
    assert project.json("best_config/config.json")["units"] == 5
    before = project.journal()

    assert "search: done already" in project.run(*SEARCH, *given).out
    for other, message in [
        (("--set", "units=4", *given[2:]), "configuration 1 has units=5, and --set fixes units=4"),
        (
            ("--set", "units=4", *given[4:]),
            '--set was {"units": 5} and is {"units": 4}, --try was [',
        ),
        (given[2:], '--set was {"units": 5} and is not given'),
        (given[:2], "--try was [{"),
    ]:
        refused = project.run(*SEARCH, *other, "--schedule", schedule)
        assert refused.code == 2
        assert message in refused.err
    assert project.journal() == before

    assert project.run(*SEARCH, *given, "--trials", "7").code == 0
    assert len(configs(project)) == 7
    assert {config["units"] for config in configs(project)} == {5}


def test_an_unknown_key_and_more_configurations_than_trials_are_refused_before_any_work(
    project: Project,
) -> None:
    (project.path / "try.json").write_text(json.dumps([{"lr": n / 10, "units": 4} for n in range(1, 7)]))
    tries = ("--try", str(project.path / "try.json"))
    for flags, message in [
        (
            ("--set", "unit=4"),
            "get_config() draws no configuration with 'unit'; it draws lr, units",
        ),
        (("--set", "lr=NaN"), "['lr'] is nan"),
        (tries, "has 6 configurations, and the search has 5 trials; give --trials 6 or more"),
        ((*tries, "--trials", "3"), "has 6 configurations, and the search has 3 trials"),
    ]:
        refused = project.run(*SEARCH, *flags)
        assert refused.code == 2
        assert message in refused.err
        assert not (project.results / "trials").exists()
    assert project.run(*SEARCH, *tries, "--trials", "6").code == 0
