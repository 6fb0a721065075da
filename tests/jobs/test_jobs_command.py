"""Jobs from a terminal."""

import contextlib
import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from jobs_toys import command, main_in

from helixband.jobs import Jobs
from helixband.jobs.__main__ import main


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a definition, and a jobs.toml that has the main.py of the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    set_up(f'[here]\npython = "{sys.executable}"\nprogram = ["{main_in(tmp_path)}"]\n')
    command(tmp_path)
    return tmp_path


def set_up(text: str) -> None:
    path = Path(os.environ["XDG_CONFIG_HOME"], "helixband", "jobs.toml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


RUN = ["--", "--model", "code/def.py", "--data", "data"]


def said(capsys: Any, *words: str) -> tuple[int, str]:
    """(exit code, output and errors) of a command."""
    capsys.readouterr()
    try:
        code = main(words)
    except SystemExit as exit:
        code = int(exit.code or 0)
    return code, "".join(capsys.readouterr())


def test_a_job_goes_from_submit_to_fetch(place: Path, capsys: Any) -> None:
    code, text = said(capsys, "submit", "--name", "lr", "--grid", "lr=1e-3,0.1", *RUN, "--set", "do=")
    assert code == 0 and "def/lr/lr=1e-3/version_1" in text
    for _ in range(100):
        code, text = said(capsys, "status")
        if "2 complete" in text:
            break
        time.sleep(0.1)
    assert text.splitlines()[-1].startswith("2 complete: nothing")
    assert said(capsys, "log", "lr/lr=0.1")[1] == (
        "== def/lr/lr=0.1/version_1/job.out\nat work ['def.py', 'helper.py'] ['x.fa']\n"
    )
    assert said(capsys, "fetch", "lr", "--to", "home")[1].splitlines() == [
        "fetched to home/def/lr/lr=0.1/version_1",
        "fetched to home/def/lr/lr=1e-3/version_1",
    ]


def test_a_job_that_fails_at_once_shows_its_error(place: Path, capsys: Any) -> None:
    code, text = said(capsys, "submit", *RUN, "--set", "do=fail")
    assert code == 1
    assert "ValueError: no such thing" in text and "error: look at log, mend the cause" in text
    assert said(capsys, "cancel", "run") == (
        2,
        "error: none of 1 job waits or runs: there is nothing to cancel\n",
    )


def test_create_print_writes_nothing(place: Path, capsys: Any) -> None:
    code, text = said(capsys, "create", "--print", "--slurm", "partition=gpu,time=1:00:00", *RUN)
    assert code == 0 and text.startswith("#!/bin/bash\n#SBATCH --job-name=run_version_1\n")
    assert "#SBATCH --partition=gpu\n#SBATCH --time=1:00:00\n" in text
    assert not (place / "out").exists()


def test_what_was_created_is_submitted_by_its_name(place: Path, capsys: Any) -> None:
    code, text = said(capsys, "create", "--replicates", "2", *RUN, "--set", "do=")
    assert code == 0 and "2 created: submit it" in text
    code, text = said(capsys, "submit", "run/version_2")
    assert code == 0 and "def/run/version_2" in text and "version_1" not in text


def test_watch_ends_with_the_jobs(place: Path, capsys: Any) -> None:
    said(capsys, "submit", *RUN, "--set", "do=")
    code, text = said(capsys, "status", "--watch")
    assert code == 0 and "1 complete" in text
    said(capsys, "create", *RUN, "--set", "do=x")
    code, text = said(capsys, "status", "--watch")  # which waits for none that nobody submitted
    assert code == 0 and "1 created" in text


def test_watch_draws_the_table_in_place_in_a_terminal(place: Path, capsys: Any) -> None:
    Jobs().submit(command(place, "run", "--set", "do=wait"), wait=0)
    parent, child = pty.openpty()
    words = [sys.executable, "-m", "helixband.jobs", "status", "--watch"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    watching = subprocess.Popen(words, stdout=child, stderr=child, env=environment)
    os.close(child)
    drawn = b""
    while b"running" not in drawn:
        drawn += os.read(parent, 1 << 16)
    assert said(capsys, "cancel", "run")[0] == 0
    with contextlib.suppress(OSError):  # as a terminal ends
        while block := os.read(parent, 1 << 16):
            drawn += block
    os.close(parent)
    assert watching.wait(30) == 0
    assert b"1 cancelled: resume" in drawn.rpartition(b"\x1b")[2]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["submit"], "submit needs a command line of main.py"),
        (["create", "x", *RUN], "create needs a command line of main.py"),
        (["submit", "x", "--grid", "lr=1"], "what is to be made comes after --"),
        (["submit", "x"], "out has no job 'x'; there are none at all"),
        (["submit", "--grid", "lr", *RUN], "--grid lr: give a hyperparameter and its values"),
        (["submit", "--grid", "lr=1", "--grid", "lr=2", *RUN], "lr has values already"),
        (["submit", "--grid", "lr=1,,2", *RUN], "--grid lr=1,,2: give a hyperparameter and its values"),
        (["submit", "--grid", "lr=", *RUN], "--grid lr=: give a hyperparameter and its values"),
        (["submit", "--at-once", "0", *RUN], "at-once is 0: give a number from 1 on"),
        (["submit", "--slurm", "cpus=1,cpus=2", *RUN], "cpus is given twice"),
        (["submit", "--name", "\udcff", *RUN], "has bytes that are not UTF-8"),
        (["submit", "--out", "\udcff", *RUN], "has bytes that are not UTF-8"),
        (["submit", *RUN, "--set", "a=\udcff"], "has bytes that are not UTF-8"),
        (["submit", "--slurm", "part=x", *RUN], "--slurm part=x: give name=value, with a name of account, "),
        (["submit", "--slurm", "cpus=x", *RUN], "--slurm cpus=x: 'x' is no value of cpus"),
        (["submit", "--slurm", "", "--shell", *RUN], "give one of them"),
        (["submit", "--name", "a\nb", *RUN], "has a control character"),
        (["submit", "--", "--model", "none.py"], "none.py: there is no such file"),
        (["status", *RUN], "status takes no command line after --"),
        (["resume"], "resume needs the names of jobs"),
        (["statu"], "invalid choice: 'statu'"),
        (["status", "--wat"], "unrecognized arguments: --wat"),
    ],
)
def test_wrong_usage_is_told(words: list[str], told: str, place: Path, capsys: Any) -> None:
    code, text = said(capsys, *words)
    assert code == 2 and told in text
    assert not (place / "out").exists()


def test_without_sbatch_that_is_told_and_the_script_kept(
    place: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "bin").mkdir()
    for name in ("env", "find", "pwd", "git", "sh", "bash"):
        (place / "bin" / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(place / "bin"))
    code, text = said(capsys, "submit", "--slurm", "", *RUN)
    assert code == 2 and "there is no sbatch on this machine: submit from a login node" in text
    assert Path(text.strip().rpartition(": ")[2]).is_file()


HPARAMS = """
from helixband.hparams import Hparams, hparam

class Everything(Hparams):
    version = 1
    lr: float = hparam(0.5, "learning rate", short="lr", search=[0.1, 0.5])
    units: int = hparam(8, "units", short="u")
"""


@pytest.fixture
def named(place: Path) -> Path:
    """The definition has hyperparameters by name, and cannot be loaded here."""
    (place / "code" / "hparams.py").write_text(HPARAMS)
    (place / "code" / "def.py").write_text(
        "from hparams import Everything as hparams\nimport no_such_package\n"
    )
    return place


def labels(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines() if "/version_" in line]


def test_jobs_are_named_by_the_hyperparameters_that_hparams_py_declares(named: Path, capsys: Any) -> None:
    flags = ["--epoch", "3", "--predict", "a", "b"]
    assert labels(said(capsys, "create", *RUN, *flags)[1]) == ["def/v1/version_1"]
    both = labels(said(capsys, "create", *RUN, "--lr", "0.1", "--set", "units=4")[1])
    assert both == ["def/v1/lr=1.00E-01,u=4/version_1"]
    text = said(capsys, "create", "--grid", "lr=0.1,0.25", *RUN, "--units", "4", *flags)[1]
    made = [json.loads((named / "out" / label / "job.json").read_text()) for label in labels(text)]
    assert [(job["values"]["lr"], job["values"]["units"]) for job in made] == [(0.1, 4), (0.25, 4)]
    assert made[0]["argv"] == [*RUN[1:], *flags, "--lr=0.1", "--units=4"]


def test_what_is_given_to_a_search_stays_though_it_is_the_default(named: Path, capsys: Any) -> None:
    [label] = labels(said(capsys, "create", *RUN, "--hyper", "--lr", "0.5")[1])
    assert json.loads((named / "out" / label / "job.json").read_text())["argv"] == [
        *RUN[1:],
        "--hyper",
        "--lr",
        "0.5",
    ]


def test_a_value_of_a_grid_stays_though_it_is_the_default(named: Path, capsys: Any) -> None:
    """Else a search, or get_config(), would choose another."""
    made = labels(said(capsys, "create", "--grid", "lr=0.1,0.5", *RUN, "--hyper", "--units", "8")[1])
    words = {label: json.loads((named / "out" / label / "job.json").read_text())["words"] for label in made}
    assert {label: each[-2:] for label, each in words.items()} == {
        "def/v1/version_1": ["--lr=0.5", "--units=8"],
        "def/v1/lr=1.00E-01/version_1": ["--lr=0.1", "--units=8"],
    }


def test_a_job_is_named_by_its_file_of_values_too(named: Path, capsys: Any) -> None:
    (named / "c.json").write_text('{"lr": 0.25, "units": 4}')
    [label] = labels(said(capsys, "create", *RUN, "--config", "c.json", "--units", "16")[1])
    assert label == "def/v1/lr=2.50E-01,u=16/version_1"
    assert json.loads((named / "out" / label / "job.json").read_text())["values"] == {"lr": 0.25, "units": 16}
    for text, told in (
        ('{"lrr": 1}', "--config c.json: Everything has no hyperparameter 'lrr'; did you mean lr?"),
        ("{", "--config c.json: "),
        (None, "--config c.json is not here, and names the job: give --name"),
    ):
        (named / "c.json").unlink() if text is None else (named / "c.json").write_text(text)
        code, said_now = said(capsys, "create", *RUN, "--config", "c.json")
        assert code == 2 and told in said_now


def test_a_grid_of_lists_has_commas_within_values(place: Path, capsys: Any) -> None:
    text = said(capsys, "create", "--grid", 'units=[32,64],[[1],[2,3]],"a,b"', *RUN)[1]
    assert sorted(labels(text)) == [
        "def/run/units=[32,64]/version_1",
        "def/run/units=[[1],[2,3]]/version_1",
        "def/run/units=a,b/version_1",
    ]


def test_a_value_that_does_not_fit_is_told_before_anything_is_made(named: Path, capsys: Any) -> None:
    code, text = said(capsys, "create", *RUN, "--units", "many")
    assert code == 2 and "units" in text and "many" in text
    code, text = said(capsys, "create", "--grid", "lrr=1", *RUN)
    assert code == 2 and "did you mean lr?" in text
    (named / "code" / "hparams.py").write_text("1 / 0\n")
    code, text = said(capsys, "create", *RUN)
    assert code == 2 and "hparams.py: ZeroDivisionError: division by zero; it is loaded for the name" in text
    assert said(capsys, "create", "--name", "x", *RUN)[0] == 0
    assert labels(said(capsys, "status")[1]) == ["def/x/version_1"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[here]\npyton = 'x'\n", "[here] has pyton, which is no setting; did you mean python?"),
        ("[here]\npython = 3\n", "[here] python is 3, which is of another type"),
        ("[here]\nscheduler = 'pbs'\n", "scheduler = 'pbs'; there are shell, slurm"),
        (
            "[here.slurm]\npartitio = 'x'\n",
            "[here.slurm] has partitio, which is no setting; did you mean partition?",
        ),
        ("here = 3\n", "here is 3, and has to be a section: [here]"),
        ("scheduler = 'slurm'\n", "scheduler is 'slurm', and has to be a section"),
        ("[here]\nout = '~/out'\n", "[here] out = '~/out': nobody reads the ~ there"),
        ("[here\n", "jobs.toml cannot be read: "),
    ],
)
def test_a_wrong_jobs_toml_is_told(text: str, told: str, place: Path, capsys: Any) -> None:
    set_up(text)
    code, words = said(capsys, "status")
    assert code == 2 and told in words


def test_jobs_toml_has_what_a_machine_needs(place: Path, capsys: Any) -> None:
    set_up(
        '[here]\nscheduler = "slurm"\nout = "else"\nsetup = "module load cuda"\n'
        '[here.slurm]\npartition = "gpu"\ngpus = 1\n[other]\nout = "there"\n'
    )
    text = said(capsys, "create", "--print", "--slurm", "gpus=2", *RUN)[1]
    assert "#SBATCH --partition=gpu\n#SBATCH --gpus=2\n" in text
    assert "\nmodule load cuda\n" in text and "/else/def/run/version_1 ||" in text
    assert "#SBATCH --gpus=1\n" in said(capsys, "create", "--print", *RUN)[1]


def test_the_import_is_light() -> None:
    code = (
        "import sys, json, helixband.jobs, helixband.jobs.__main__\n"
        "print(json.dumps([name for name in ('torch', 'numpy', 'hyperopt', 'rich') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
