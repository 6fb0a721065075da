"""Typed parameters from environment variables."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helixband.env import (
    env,
    is_credential,
    is_of_the_place,
    variables_looked_up,
    variables_read,
    watch,
    without_credentials,
)
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


# What a definition's folder reads from os.environ.


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], dict[str, str | None]]:
    """What is recorded of code that is run as a file of the definition's folder."""
    kind = type(os.environ)
    monkeypatch.setattr("helixband.env._looked_up", {})
    monkeypatch.setenv("GENOME", "hg38")
    monkeypatch.setenv("WANDB_API_KEY", "hidden")
    monkeypatch.delenv("WINDOW", raising=False)

    def run(code: str) -> dict[str, str | None]:
        watch(lambda frame: frame.f_code.co_filename.startswith(str(tmp_path)))
        try:
            exec(compile(code, str(tmp_path / "def.py"), "exec"), {"os": os})
        finally:
            os.environ.__class__ = kind
        return variables_looked_up()

    return run


@pytest.mark.parametrize(
    "code",
    [
        "os.environ['GENOME']",
        "os.environ.get('GENOME')",
        "os.environ.get('GENOME', 'mm10')",
        "os.getenv('GENOME')",
        "assert 'GENOME' in os.environ",
        "assert 'GENOME' in os.environ.keys()",
        "os.environ.setdefault('GENOME', 'mm10')",
        "name = 'GEN' + 'OME'; [os.environ[each] for each in [name]]",
        "from os import environ, getenv; getenv('GENOME')",
        "[os.environ[name] for name in os.environ if name == 'GENOME']",
    ],
)
def test_what_is_read_by_name_from_os_environ_is_recorded(watched: Any, code: str) -> None:
    assert watched(code) == {"GENOME": "hg38"}


def test_a_variable_that_is_not_set_is_recorded_as_such(watched: Any) -> None:
    assert watched("os.environ.get('WINDOW', '100'); os.getenv('WINDOW')") == {"WINDOW": None}


@pytest.mark.parametrize(
    "code",
    [
        "dict(os.environ)",
        "{**os.environ, 'GENOME': 'mm10'}",
        "os.environ.copy()",
        "os.environ | {'GENOME': 'mm10'}",
        "list(os.environ), list(os.environ.items()), len(os.environ)",
        "import subprocess; subprocess.run(['true'], env={**os.environ})",
        "os.path.expanduser('~'); import tempfile; tempfile.gettempdir()",
        "os.environ['WANDB_API_KEY']",
        "from helixband.env import env; env('GENOME')",
    ],
)
def test_copies_libraries_and_credentials_are_not_recorded(watched: Any, code: str) -> None:
    assert watched(code) == {}


def test_os_environ_does_what_it_did(watched: Any) -> None:
    watched("""
before = dict(os.environ)
os.environ["WINDOW"] = "5"
assert os.environ["WINDOW"] == "5" and os.environ.pop("WINDOW") == "5" and "WINDOW" not in os.environ
assert dict(os.environ) == before == os.environ.copy() == {**os.environ}
try:
    os.environ["WINDOW"]
except KeyError as error:
    assert error.args == ("WINDOW",)
""")


# Credentials, and what differs from place to place.


@pytest.mark.parametrize(
    "name",
    [
        "TOKEN", "HF_TOKEN", "GITHUBTOKEN", "API_TOKENS", "token", "myToken", "AWS_SECRET_ACCESS_KEY",
        "WANDB_API_KEY", "APIKEY", "SshKey", "KEYS", "DB_PASSWORD", "PGPASSWORD", "MYSQL_PWD", "DB_PASS",
        "PASSWD", "SECRET",
        "GOOGLE_APPLICATION_CREDENTIALS", "AUTH", "OAUTH_ID", "HTTP_AUTHORIZATION", "SSH_AUTH_SOCK", "COOKIE",
        "KEY1", "SECRETS2",
    ],
)  # fmt: skip
def test_the_value_of_a_credential_is_nowhere(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "hidden")
    assert env(name) == "hidden"
    assert name not in variables_read()
    with pytest.raises(UsageError) as caught:
        env(name, type=int)
    assert str(caught.value) == f"the environment variable {name} holds what cannot be read as int"


@pytest.mark.parametrize(
    "name",
    ["WINDOW", "KEYWORD", "AUTHOR", "TOKENIZER", "MAX_TOKENS", "TOKENS_PER_BATCH", "MONKEY_GENOME", "PASSES"],
)
def test_other_names_are_recorded(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    env(name)
    assert variables_read() == {name: "1"}


def test_what_tells_the_place_of_a_process_is_known() -> None:
    of_the_place = ["SLURM_JOB_ID", "TMPDIR", "CUDA_VISIBLE_DEVICES", "PBS_JOBID", "HOSTNAME"]
    assert all(map(is_of_the_place, of_the_place))
    assert not any(map(is_of_the_place, ["WINDOW", "RANK", "GENOME", "MY_TMPDIR", "OMP_NUM_THREADS"]))


# Credentials.

CREDENTIALS = (
    "HF_TOKEN HFTOKENS ACCESSTOKENS WANDB_API_KEY wandbApiKey AWS_SECRET_ACCESS_KEY MY_SECRETVALUE DBPASS "
    "PGPASS PGPASSWORD USERPWD DB_PW ROOT_PW PIN CARD_PIN PRIVATE_PEM GITHUB_PAT DATABASE_URL SENTRY_DSN "
    "SLACK_WEBHOOK_URL AZURE_STORAGE_CONNECTION_STRING SSH_AUTH_SOCK COOKIE NEW_TOKENS"
).split()
OTHERS = (
    "TOKENIZER TOKENIZERS_PARALLELISM MAX_TOKENS NUM_NEW_TOKENS NTOKENS NUM_KEYS PASSES N_PASSES KEYPOINTS "
    "MONKEY PINNED PIN_MEMORY SPIN COMPASS LOWPASS BYPASS KEYWORD SECRETOME SECRETED PATIENCE PATH PWD "
    "WINDOW DATABASE MIRROR_URL"
).split()


def test_credentials_are_known_by_their_names() -> None:
    assert [name for name in CREDENTIALS if not is_credential(name)] == []
    assert [name for name in OTHERS if is_credential(name)] == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("postgresql://me:s3cr3t@host/db", True),
        ("redis://:s3cr3t@host:6379", True),
        ("a https://me:p@ss@host/x", True),
        ("https://host:8080/a@b", False),
        ("ssh://git@host/x", False),
        ("chr1:1000@plus", False),
        ("s3://bucket/a:b@c", False),
    ],
)
def test_a_url_with_a_password_is_a_credential_whatever_its_name(value: str, expected: bool) -> None:
    assert is_credential("GENOME", value) is expected


def test_a_url_with_a_password_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helixband.env._read", {})
    monkeypatch.setenv("MIRROR", "https://me:s3cr3t@host")
    env("MIRROR")
    assert variables_read() == {}
    with pytest.raises(UsageError) as caught:
        env("MIRROR", 1, int)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "text", "expected"),
    [
        ("s3cr3tVALUE", "at https://x/?key=s3cr3tVALUEs", "at https://x/?key=<MY_TOKEN>s"),
        ("a.b*c?d+e", "a.b*c?d+e, a-b*c?d+e", "<MY_TOKEN>, a-b*c?d+e"),
        ("hunter", "hunter and hunters", "<MY_TOKEN> and hunters"),
        ("x123", "x123 and x1234", "<MY_TOKEN> and x1234"),
        ("true", "is true", "is true"),
        ("", "nothing", "nothing"),
        ("pg://me:s3cr3tword@host/db", "password s3cr3tword refused", "password <MY_TOKEN> refused"),
    ],
    ids=[
        "long",
        "signs",
        "whole word",
        "digits",
        "common",
        "empty",
        "in a URL",
    ],  # pytest has them in a variable
)
def test_the_name_of_a_credential_stands_in_the_place_of_its_value(
    monkeypatch: pytest.MonkeyPatch, value: str, text: str, expected: str
) -> None:
    monkeypatch.setenv("MY_TOKEN", value)
    assert without_credentials(text) == expected


def test_a_password_in_a_url_is_left_out_of_any_text() -> None:
    text = "GET https://me:pw@host/x and ftp://you:other@mirror; mail a@b"
    assert without_credentials(text) == "GET https://me:***@host/x and ftp://you:***@mirror; mail a@b"
