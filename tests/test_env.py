"""Typed parameters from environment variables."""

from pathlib import Path
from typing import Any

import pytest

from helixband.env import env, variables_read
from helixband.errors import UsageError


@pytest.mark.parametrize(
    ("text", "type", "expected"),
    [
        ("1000", int, 1000),
        ("1e-3", float, 0.001),
        ("hg38", str, "hg38"),
        ("", str, ""),
        ("data/hg38.fa", Path, Path("data/hg38.fa")),
        ("a,b", lambda text: text.split(","), ["a", "b"]),
    ],
)
def test_a_variable_is_converted_by_its_type(
    monkeypatch: pytest.MonkeyPatch, text: str, type: Any, expected: Any
) -> None:
    monkeypatch.setenv("WINDOW", text)
    assert env("WINDOW", None, type) == expected


def test_a_variable_is_text_where_no_type_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDOW", "1000")
    assert env("WINDOW") == "1000"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *[(word, True) for word in ("1", "true", "True", "YES", "on")],
        *[(word, False) for word in ("0", "false", "False", "NO", "off")],
    ],
)
def test_words_for_yes_and_no_are_read_as_bool(
    monkeypatch: pytest.MonkeyPatch, word: str, expected: bool
) -> None:
    monkeypatch.setenv("AUGMENT", word)
    assert env("AUGMENT", not expected, bool) is expected


@pytest.mark.parametrize("default", [1000, 0, False, "", "text"])
def test_the_default_holds_as_it_is_where_the_variable_is_not_set(
    monkeypatch: pytest.MonkeyPatch, default: Any
) -> None:
    monkeypatch.delenv("WINDOW", raising=False)
    assert env("WINDOW", default, int) is default


def test_a_variable_without_default_has_to_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENOME", raising=False)
    with pytest.raises(UsageError, match="the environment variable GENOME is not set and has no default"):
        env("GENOME")


@pytest.mark.parametrize(
    ("text", "type", "message"),
    [
        ("10kb", int, "the environment variable WINDOW is '10kb', which cannot be read as int"),
        ("", float, "WINDOW is '', which cannot be read as float"),
        ("maybe", bool, "WINDOW is 'maybe', which cannot be read as bool"),
    ],
)
def test_text_that_cannot_be_converted_is_told(
    monkeypatch: pytest.MonkeyPatch, text: str, type: Any, message: str
) -> None:
    monkeypatch.setenv("WINDOW", text)
    with pytest.raises(UsageError, match=message):
        env("WINDOW", None, type)


def test_what_was_read_is_recorded_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helixband.env._read", {})
    monkeypatch.setenv("WINDOW", " 0100 ")
    monkeypatch.setenv("AUGMENT", "yes")
    monkeypatch.setenv("UNREAD", "1")
    monkeypatch.delenv("GENOME", raising=False)
    env("WINDOW", 1000, int)
    env("AUGMENT", False, bool)
    env("GENOME", "hg38")
    assert variables_read() == {"WINDOW": " 0100 ", "AUGMENT": "yes", "GENOME": "hg38"}
    variables_read().clear()
    assert len(variables_read()) == 3
