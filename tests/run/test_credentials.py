"""What is a credential of the environment is in no file of a result directory."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Project, printed_by

from helixband.env import without_credentials
from helixband.errors import DefinitionError
from helixband.results.directory import Results
from helixband.results.scored import reason_to_leave_out
from helixband.search.executors import printed

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
    printed_by(trial, f"connecting with {SECRET}\xff\n".encode("latin-1"))
    assert trial.output_file.read_bytes() == b"connecting with <HF_TOKEN>\xff\n"


@pytest.mark.parametrize(
    ("pieces", "kept"),
    [
        ((b"one s3cr3", b"tVALUE two\n"), "one <HF_TOKEN> two\n"),
        ((b"s3cr3tVALUE",), "<HF_TOKEN>"),  # of a line that does not end
        ((b"10 %\rs3cr3tV", b"ALUE\r"), "10 %\r<HF_TOKEN>\r"),
        ((b"." * 40000 + b"s3cr3", b"tVALUE" + b"." * 40000), "." * 40000 + "<HF_TOKEN>" + "." * 40000),
    ],
    ids=["in two pieces", "no line", "over itself", "a long line"],
)
@pytest.mark.parametrize("ended", [True, False], ids=["ended", "died"])
def test_what_is_printed_never_comes_to_the_disk_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: tuple[bytes, ...], kept: str, ended: bool
) -> None:
    written: list[bytes] = []
    trial = Results(tmp_path).trial("0000")
    monkeypatch.setattr(printed, "append", lambda path, content, sync: written.append(content))
    tail = printed_by(trial, *pieces, ended=ended)
    assert b"".join(written).decode() == kept
    assert tail == kept.strip()[-printed.TAIL :]
    assert all(b"s3cr3" not in piece for piece in written)


def test_what_is_printed_outside_of_a_trial_is_in_its_file_no_more_than_in_another(tmp_path: Path) -> None:
    results, pipe = Results(tmp_path), printed.Printed()
    os.write(pipe.target, b"as it loads\n" + pipe.mark + b"in 0000\n" + pipe.mark + b"by a child\n")
    pipe.expect(results.trial("0000"))  # as where the task was given before the definition was loaded
    os.write(pipe.target, pipe.mark + b"in 0001\n" + pipe.mark)
    pipe.expect(results.trial("0001"))
    assert not results.trial("0001").output_file.exists()
    os.close(pipe.target)
    pipe.close()


PEM = '-----BEGIN KEY-----\nMIIEvQ"IBAD\\ANBg\nkqhkiG9w0BAQEFAASC\n-----END KEY-----'


@pytest.mark.parametrize("shown", [str, repr, json.dumps, lambda text: repr(KeyError(repr(text)))])
def test_a_value_of_several_lines_is_found_in_each_form(
    monkeypatch: pytest.MonkeyPatch, shown: Callable[[str], str]
) -> None:
    monkeypatch.setenv("SIGNING_KEY", PEM)
    kept = without_credentials(f"cannot sign with {shown(PEM)}")
    assert "cannot sign with" in kept and "<SIGNING_KEY>" in kept
    assert not any(part in kept for part in ("MIIE", "IBAD", "ANBg", "kqhki"))


def test_a_line_of_a_value_is_found_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNING_KEY", PEM)
    assert without_credentials("line 3 is kqhkiG9w0BAQEFAASC.") == "line 3 is <SIGNING_KEY>."
    monkeypatch.setenv("SIGNING_KEY", json.dumps({"key": PEM}))
    assert without_credentials("line 3 is kqhkiG9w0BAQEFAASC.") == "line 3 is <SIGNING_KEY>."


NAMED = """

def get_config():
    return {"lr": 0.01, "units": 4, **CONFIG}


class Model(Model):
    def eval_metrics(self, y_true, y_pred):
        return METRICS

    def train_metrics(self, y_true, y_pred):
        return {}


import os

TOKEN = os.environ["HF_TOKEN"]
CONFIG, METRICS = {}, {}
"""


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        (
            "CONFIG = {TOKEN: 1}",
            "a key of the configuration has the value of the environment variable HF_TOK",
        ),
        (
            "CONFIG = {'x': [{f'a {TOKEN}': 1}]}",
            "a key of the configuration['x'][0] has the value of the env",
        ),
        (
            "METRICS = {TOKEN: 1.0}",
            "the name of a metric of eval_metrics has the value of the environment va",
        ),
    ],
)
def test_a_name_that_has_it_is_refused(project: Project, extra: str, told: str) -> None:
    project.define(f"{NAMED}{extra}\n")
    refused = project.run("--epoch", "1", "--eval", "--no-data-check")
    assert refused.code == 2 and told in refused.err
    assert SECRET not in refused.err
    assert files_with(project, SECRET) == []


def test_a_part_of_predictions_and_an_input_that_are_named_by_it_are_refused(project: Project) -> None:
    results = Results(project.results)
    with pytest.raises(DefinitionError, match="the name of predictions has the value of the environment var"):
        results.prediction("x.fa", f".{SECRET}.npy")
    with pytest.raises(DefinitionError, match="the name of a part of y_pred has the value"):
        reason_to_leave_out(np.zeros(2), {SECRET: np.zeros(2)})
    (project.data / f"{SECRET}.fa").write_text(">one\nACGT\n")
    refused = project.run("--epoch", "1", "--predict", "*.fa")
    assert refused.code == 2 and "and predictions are stored by this name; rename it" in refused.err


def test_another_variable_of_its_value_and_the_path_of_the_data_are_kept_without_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_HUB", f"of {SECRET}")
    monkeypatch.setenv("OTHER_HUB", f"of {SECRET}")
    project.define("\nimport os\n\nHUB = env('MODEL_HUB'), os.environ['OTHER_HUB'], env('SIZE', 3, int)\n")
    data = project.path / f"data of {SECRET}"
    os.rename(project.data, data)
    done = project.run("--train", "--epoch", "1", "--eval", "--predict", "x.fa", "--data", str(data))
    assert (done.code, done.err) == (0, "")
    assert project.json("run.json")["environment"] == {"SIZE": "3"}
    assert files_with(project, SECRET) == []
    assert "test: done already" in project.run("--eval", "--data", str(data)).out


def test_weights_to_begin_with_whose_path_has_it_are_refused(project: Project) -> None:
    (project.path / f"{SECRET}.pt").write_bytes(b"")
    refused = project.run("--train", "--epoch", "1", "--load-checkpoint", f"{SECRET}.pt")
    assert refused.code == 2
    assert "--load-checkpoint: the path has the value of the environment variable HF_TOKEN" in refused.err
    assert files_with(project, SECRET) == []
