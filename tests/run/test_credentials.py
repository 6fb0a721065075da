"""What is a credential of the environment is in no file of a result directory."""

import os
from pathlib import Path

import pytest
from conftest import Project

from helixband.results.directory import Results
from helixband.search.executors.worker import _printing_to

SECRET = "s3cr3tVALUE"
SEARCH = ("--hyper", "--schedule", "sha", "--trials", "2", "--epoch", "3", "--batch-size", "20")

FAILING = """

class Model(Model):
    def init_model(self):
        if self.config["units"] == 8:
            raise RuntimeError("no answer for " + os.environ["HF_TOKEN"])
        super().init_model()


def get_config():
    return {"lr": 0.01 * random.random(), "units": next(UNITS)}


import os

UNITS = iter([4, 8] * 1000)
"""


def files_with(project: Project, text: str) -> list[str]:
    files = [path for path in project.results.rglob("*") if path.is_file()]
    return [path.name for path in files if text.encode() in path.read_bytes() and path.name != "def.py"]


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)


def test_the_error_of_a_trial_is_kept_without_it(project: Project) -> None:
    project.define(FAILING)
    done = project.run(*SEARCH, "--sampler", "random")
    assert done.code == 0
    assert files_with(project, SECRET) == []
    assert SECRET not in done.out + done.err
    errors = [path.read_text() for path in project.results.glob("trials/*/error.txt")]
    assert errors and all("no answer for <HF_TOKEN>" in error for error in errors)
    assert "no answer for <HF_TOKEN>" in project.read("search/journal.jsonl")


def test_the_error_of_a_run_is_told_without_it(project: Project) -> None:
    project.define("\nimport os\n\nint(os.environ['HF_TOKEN'])\n")
    done = project.run("--epoch", "1")
    assert (done.code, "invalid literal for int" in done.err) == (2, True)
    assert SECRET not in done.err


@pytest.mark.parametrize("flags", [("--epoch", "1"), SEARCH], ids=["training", "search"])
@pytest.mark.parametrize("value", ["env('HF_TOKEN')", "['https://host/?key=' + env('HF_TOKEN')]"])
def test_a_configuration_that_has_it_is_refused(project: Project, flags: tuple[str, ...], value: str) -> None:
    project.define(f"\n\ndef get_config():\n    return {{'lr': 0.01, 'units': 4, 'tok': {value}}}\n")
    refused = project.run(*flags)
    assert refused.code == 2
    assert "has the value of the environment variable HF_TOKEN, which is not to be stored" in refused.err
    assert files_with(project, SECRET) == []


@pytest.mark.parametrize("given", ["token=another-S3cret", "db_password=another-S3cret", f"name={SECRET}"])
def test_a_fixed_configuration_that_has_one_is_refused(project: Project, given: str) -> None:
    refused = project.run("--epoch", "1", "--set", "lr=0.01", "--set", "units=4", "--set", given)
    assert (refused.code, "in init_model" in refused.err) == (2, True)
    assert "3cret" not in refused.err
    assert files_with(project, "3cret") == []


def test_a_short_token_of_another_kind_is_none(project: Project) -> None:
    assert project.run("--epoch", "1", "--set", "lr=0.01", "--set", "units=4", "--set", "token=bpe").code == 0


def test_the_recorded_command_is_without_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["main.py", "--note", f"x{SECRET}", "ftp://me:password@host"])
    assert project.run("--epoch", "1").code == 0
    assert project.json("run.json")["command"] == ["main.py", "--note", "x<HF_TOKEN>", "ftp://me:***@host"]


def test_what_a_worker_prints_is_kept_without_it(tmp_path: Path) -> None:
    trial = Results(tmp_path).trial("0000")
    with pytest.raises(KeyError), _printing_to(trial):
        os.write(1, f"connecting with {SECRET}\xff\n".encode("latin-1"))
        raise KeyError
    assert trial.output_file.read_bytes() == b"connecting with <HF_TOKEN>\xff\n"
