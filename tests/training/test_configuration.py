"""Configurations: a mapping, its JSON form, and what the command line fixes."""

import json
import math
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helixband.errors import DefinitionError, UsageError
from helixband.training.configuration import (
    Config,
    MissingHyperparameter,
    canonical,
    from_json,
    read_config,
    to_json,
)
from helixband.training.schedules import LinearSchedule

WARMUP = LinearSchedule(start=0.0, end=1.0, duration=4)
COOLING = LinearSchedule(start=1.0, end=0.0, duration=10, unit="step")


class Kind(StrEnum):
    ADAM = "adam"


class Size(IntEnum):
    TWO = 2


class Text(str): ...


# What JSON holds, but for a key `__schedule__`, which marks a schedule.
documents = st.dictionaries(
    st.text().filter(lambda key: key != "__schedule__"),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda leaf: st.lists(leaf, max_size=3) | st.dictionaries(st.just("key"), leaf),
        max_leaves=5,
    ),
    max_size=4,
)


# A mapping.


def test_a_configuration_is_a_mapping() -> None:
    config = Config({"lr": 0.1, "units": 64})
    assert config["units"] == 64
    assert dict(config) == {"lr": 0.1, "units": 64}
    assert len(config) == 2 and "lr" in config and "momentum" not in config
    assert config.params is config
    assert repr(config) == "Config({'lr': 0.1, 'units': 64})"
    assert len(Config()) == 0


def test_a_name_that_is_missing_is_told_with_those_there_are() -> None:
    with pytest.raises(MissingHyperparameter) as caught:
        Config({"lr": 0.1, "units": 64})["momentum"]
    assert str(caught.value) == "the configuration has no hyperparameter 'momentum'; it has lr, units"
    assert isinstance(caught.value, DefinitionError) and isinstance(caught.value, KeyError)
    with pytest.raises(MissingHyperparameter, match="it has nothing"):
        Config()["lr"]


def test_get_gives_its_default_for_what_is_missing() -> None:
    assert Config({"lr": 0.1}).get("momentum") is None
    assert Config({"lr": 0.1}).get("momentum", 0.9) == 0.9
    assert Config({"lr": 0.1}).get("lr", 0.9) == 0.1


def test_a_later_change_of_the_dict_does_not_change_the_configuration() -> None:
    values = {"lr": 0.1}
    config = Config(values)
    values["lr"] = 0.2
    assert config["lr"] == 0.1


def test_schedules_read_as_schedules_before_training_and_as_their_value_during_it() -> None:
    config = Config({"lr": WARMUP, "parts": {"noise": [COOLING, 0.5]}, "units": 64})
    assert config["lr"] is WARMUP
    config.set_time(epoch=1, step=5)
    assert type(config["lr"]) is float
    assert dict(config) == {"lr": 0.25, "parts": {"noise": [0.5, 0.5]}, "units": 64}
    config.set_time(epoch=4, step=20)
    assert dict(config) == {"lr": 1.0, "parts": {"noise": [0.0, 0.5]}, "units": 64}


# JSON.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("adam"), "adam"),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (torch.tensor(0.5), 0.5),
        (torch.tensor([1, 2]), [1, 2]),
        ((1, (2, 3)), [1, [2, 3]]),
        ({"a": np.int8(1)}, {"a": 1}),
        (Config({"a": 1}), {"a": 1}),
        (None, None),
    ],
)
def test_values_become_what_json_holds(value: Any, expected: Any) -> None:
    stored = to_json({"key": value})["key"]
    assert stored == expected
    assert type(stored) is type(expected)
    json.dumps(stored, allow_nan=False)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"net": object}, r"the configuration\['net'\] is <class 'object'> \(type\), which cannot be stored"),
        ({"lr": math.nan}, r"the configuration\['lr'\] is nan \(float\)"),
        ({"lr": np.float64("inf")}, r"the configuration\['lr'\] is inf"),
        ({"a": {"b": [1, {2, 3}]}}, r"the configuration\['a'\]\['b'\]\[1\] is \{2, 3\} \(set\)"),
        ({"w": torch.tensor([1.0, math.nan])}, r"the configuration\['w'\]\[1\] is nan"),
        ({1: "a"}, "the configuration has the key 1; keys have to be strings"),
        ({"a": {None: 1}}, r"the configuration\['a'\] has the key None"),
        ({"z": 1j}, r"the configuration\['z'\] is 1j \(complex\)"),
        ({"o": Kind.ADAM}, r"\['o'\] is <Kind.ADAM: 'adam'> \(Kind\).*its value 'adam' or its name 'ADAM'"),
        ({"o": [Size.TWO]}, r"the configuration\['o'\]\[0\] is <Size.TWO: 2> \(Size\)"),
        ({"o": Text("adam")}, r"the configuration\['o'\] is 'adam' \(Text\)"),
        ({Text("adam"): 1}, r"has the key 'adam'; keys have to be strings, of type str"),
        ({"b": np.bytes_(b"adam")}, r"\['b'\] is b'adam' \(bytes\)"),
        ({"d": np.datetime64("2020-01-01", "ns")}, r"\['d'\] is np.datetime64"),
        ({"l": np.longdouble("0.1")}, r"\['l'\] is np.longdouble"),
        (
            {"lr": LinearSchedule(start=0.1, end=math.inf, duration=5)},
            r"the configuration\['lr'\]\['end'\] is inf",
        ),
    ],
)
def test_what_json_does_not_hold_is_refused_by_its_key(config: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        to_json(config)


@settings(deadline=None)
@given(document=documents)
def test_a_configuration_comes_back_from_json(document: dict[str, Any]) -> None:
    stored = json.loads(json.dumps(to_json(document)))
    assert stored == document
    assert dict(from_json(stored)) == document


def test_schedules_come_back_from_json() -> None:
    stored = json.loads(json.dumps(to_json({"lr": WARMUP, "parts": {"noise": [COOLING]}})))
    assert stored["lr"] == {
        "__schedule__": "LinearSchedule",
        "unit": "epoch",
        "start": 0.0,
        "end": 1.0,
        "duration": 4,
    }
    config = from_json(stored)
    assert repr(config["lr"]) == repr(WARMUP)
    assert repr(config["parts"]["noise"][0]) == repr(COOLING)


def test_numpy_parameters_of_a_schedule_are_stored_as_numbers() -> None:
    schedule = LinearSchedule(start=np.float32(0.5), end=0.0, duration=np.int64(5))
    assert json.loads(canonical(to_json({"lr": schedule})))["lr"]["duration"] == 5


def test_a_hyperparameter_may_be_called_schedule() -> None:
    assert from_json({"optimizer": {"schedule": "cosine"}})["optimizer"] == {"schedule": "cosine"}


@settings(deadline=None)
@given(document=documents, random=st.randoms())
def test_the_canonical_text_does_not_depend_on_the_order_of_keys(
    document: dict[str, Any], random: Any
) -> None:
    names = list(document)
    random.shuffle(names)
    text = canonical({name: document[name] for name in names})
    assert text == canonical(document)
    assert json.loads(text) == document


def test_different_configurations_have_different_canonical_texts() -> None:
    assert len({canonical({"a": value}) for value in (1, 1.5, "1", True, None, [1], {"b": 1})}) == 7


# The command line.


def test_assignments_are_json_where_they_can_be_and_text_otherwise() -> None:
    assert read_config(
        None,
        ["lr=1e-3", "name=adam", "layers=[64, 32]", "on=true", "none=null", 'empty=""', "url=a=b", " x = 1 "],
    ) == {
        "lr": 0.001,
        "name": "adam",
        "layers": [64, 32],
        "on": True,
        "none": None,
        "empty": "",
        "url": "a=b",
        "x": 1,
    }


def test_assignments_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"lr": 0.1, "units": 64}')
    assert read_config(str(path), ["lr=0.2", "lr=0.3"]) == {"lr": 0.3, "units": 64}
    assert read_config(str(path), []) == {"lr": 0.1, "units": 64}


@pytest.mark.parametrize("assignment", ["lr", "=0.1", " =1", ""])
def test_an_assignment_without_key_or_value_is_refused(assignment: str) -> None:
    with pytest.raises(UsageError, match=f"--set takes key=value, got '{assignment}'"):
        read_config(None, [assignment])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("False", False),
        ("True", True),
        ("None", None),
        (".1", 0.1),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("1e-3", 0.001),
        ("1_000", 1000),
        ("(64, 32)", [64, 32]),
        ("[True, .5, 'a']", [True, 0.5, "a"]),
        ("{'depth': 2}", {"depth": 2}),
        ("[(1, 2), ('a',)]", [[1, 2], ["a"]]),
        ("()", []),
        ("'a, #b'", "a, #b"),
        ("n,x", "n,x"),
        ("no data", "no data"),
        ("'False'", "False"),
        ('"nan"', "nan"),
        ("'1'", "1"),
        ("adam", "adam"),
        ("nano", "nano"),
        ("Ångström", "Ångström"),
        ("relu(x, 1)", "relu(x, 1)"),
        ("/data/x.fa", "/data/x.fa"),
        ("./x.fa", "./x.fa"),
        ("../x.fa", "../x.fa"),
        ("~/x.fa", "~/x.fa"),
    ],
)
def test_an_assigned_value_is_json_or_a_literal_or_a_string_that_looks_like_one(
    text: str, value: Any
) -> None:
    read = read_config(None, [f"key={text}"])["key"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("TRUE", "for the boolean, write true; for a string, quote it: --set 'key=\"TRUE\"'"),
        ("fAlse", "for the boolean, write false"),
        ("none", "for no value, write null"),
        ("NULL", "for no value, write null"),
        ("nan", "a number has to be finite"),
        ("-inf", "a number has to be finite"),
        ("INFINITY", "a number has to be finite"),
        ("no", "for the boolean, write false; for a string, quote it: --set 'key=\"no\"'"),
        ("Off", "for the boolean, write false"),
        ("F", "for the boolean, write false"),
        ("N", "for the boolean, write false"),
        ("yes", "for the boolean, write true"),
        ("ON", "for the boolean, write true"),
        ("T", "for the boolean, write true"),
        (".False", "for the boolean, write false"),
        ("nil", "for no value, write null"),
        ("NA", "for no value, write null"),
        ("~Null", "for no value, write null"),
        (".nan", "a number has to be finite"),
        ("-.inf", "a number has to be finite"),
        ("~nan", "a number has to be finite"),
        ("1,000", "a number has no comma; for a list, use brackets"),
        ("12,500,000.5", "a number has no comma"),
        ("0,05", "a number has no comma"),
        ("1,5", "a number has no comma; for a list, use brackets"),
        ("64,32", "a number has no comma; for a list, use brackets"),
        ("64,", "a number has no comma"),
        ("-3e-4,1e-3", "a number has no comma"),
        ("True,", "for a list, use brackets"),
        ("None,", "for a list, use brackets"),
        ("'a', 'b'", "for a list, use brackets"),
        ("(1), (2)", "for a list, use brackets"),
        ("true,false", "for the boolean, write true"),
        ("True False", "for the boolean, write true"),
        ("5#run2", "Python reads '#run2' as a comment"),
        ("True#", "Python reads '#' as a comment"),
        ("[1, 2] # a list", "Python reads '# a list' as a comment"),
        ("'a' 'b'", "Python joins the strings; write one string, or a list with commas"),
        ("['a' 'b']", "Python joins the strings"),
        ("true#", "for the boolean, write true"),
        (
            "10kb",
            "'10kb' is neither JSON nor a literal of Python; for a string, quote it: --set 'key=\"10kb\"'",
        ),
        ("1e", "'1e' is neither"),
        (".1x", "'.1x' is neither"),
        ("-adam", "'-adam' is neither"),
        ("[adam, sgd]", "is neither"),
        ("{lr: 0.1}", "is neither"),
        ("01", "is neither"),
        ("", "'' is neither"),
        ('{"a": 1, "a": 2}', "an object has the key 'a' twice"),
        ("[{'a': True, 'a': 2}]", "an object has the key 'a' twice"),
    ],
)
def test_an_assigned_value_that_is_hardly_meant_as_a_string_is_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_config(None, [f"key={text}"])
    assert str(caught.value).startswith(f"--set key={text}: ")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [("NaN", "nan"), ("-Infinity", "-inf"), ("1e999", "inf"), ("1j", "1j"), ("{1, 2}", "{1, 2}")],
)
def test_a_value_that_json_does_not_hold_is_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_config(None, [f"lr={text}"])
    assert str(caught.value).startswith(f"the fixed configuration['lr'] is {told} ")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"lr": NaN}', "the configuration['lr'] is nan"),
        ('{"a": [1, 1e999]}', "the configuration['a'][1] is inf"),
        ('{"lr": 1, "lr": 2}', "an object has the key 'lr' twice"),
        ('{"lr": False}', "not JSON"),
    ],
)
def test_a_file_with_what_json_does_not_hold_is_refused(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(UsageError) as caught:
        read_config(str(path), [])
    assert str(caught.value).startswith(f"--config {path}: ")
    assert told in str(caught.value)


def test_a_number_that_is_not_finite_is_refused() -> None:
    with pytest.raises(UsageError, match=r"the fixed configuration\['lr'\] is nan"):
        read_config(None, ["lr=NaN"])


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "not JSON"), (b"\xff", "not JSON"), (b"[1]", "holds a list; it has to be an object")],
)
def test_a_file_that_holds_no_object_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=f"--config {path}: {message}"):
        read_config(str(path), [])


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"--config {tmp_path}/no.json: No such file"):
        read_config(f"{tmp_path}/no.json", [])
