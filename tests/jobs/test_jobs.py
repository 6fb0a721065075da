"""Jobs made, submitted, watched, resumed and brought home; as processes of this machine."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from jobs_toys import command, shell, states, until

from helixband.errors import HelixbandError, UsageError
from helixband.jobs import Command, Job, Jobs, LocalOs, Shell, grid
from helixband.jobs.status import OVER


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return Jobs(scheduler=shell(tmp_path))


def ended(jobs: Jobs, *names: str) -> dict[str, str]:
    return states(until(lambda: jobs.status(names), lambda status: status.state in OVER))


def runs(job: Job) -> list[list[str]]:
    """The words of each run of a job."""
    return [json.loads(line) for line in Path(job.folder.results, "runs").read_text().splitlines()]


def do(what: str, name: str = "first") -> Command:
    return command(Path(), name, "--set", f"do={what}")


def test_a_job_runs_on_its_code_and_data_in_a_folder_of_its_own(jobs: Jobs, tmp_path: Path) -> None:
    [job] = jobs.create(command(tmp_path, "v1/lr=1.00E-03", "--epoch", "3"))
    assert job.label == "def/v1/lr=1.00E-03/version_1"
    assert states(jobs.status()) == {job.label: "created"}
    folder = tmp_path / "out" / job.label
    assert sorted(path.name for path in folder.iterdir()) == ["code.tar.gz", "job.json", "job.sh"]
    (tmp_path / "code" / "def.py").write_text("changed since\n")
    jobs.submit(job, wait=0)
    assert ended(jobs) == {job.label: "complete"}
    [[*words]] = runs(job)
    place = words[words.index("--data") + 1]
    assert words == [
        *("--model", "def.py", "--seed", "0", "--epoch", "3"),
        *("--data", place, "--result", str(folder / "results")),
    ]
    assert not Path(place).exists()  # the place on the node is gone
    assert (folder / "job.out").read_text() == "at work ['def.py', 'helper.py'] ['x.fa']\n"
    with tarfile.open(folder / "code.tar.gz") as tar:
        assert tar.extractfile("def.py").read() == b"import helper\n"  # type: ignore[union-attr]
    events = [line.split()[:2] for line in (folder / "job.events").read_text().splitlines()]
    assert [what for what, _ in events] == ["start", "exit"]
    assert events[0][1].startswith(f"{os.uname().nodename}:")


def test_job_json_says_what_it_was_made_from(jobs: Jobs, tmp_path: Path) -> None:
    base = command(tmp_path, "x", "--seed", "7")
    made = Command("x", base.argv, {"lr": 0.001, "units": [2, 3]})
    [job] = jobs.create(made)
    document = json.loads((tmp_path / "out" / job.label / "job.json").read_text())
    assert document["argv"] == list(made.argv)
    assert (document["values"], document["seed"]) == ({"lr": 0.001, "units": [2, 3]}, 7)
    assert (document["ids"], len(document["code"]["digest"])) == ([], 64)


def test_replicates_are_versions_with_seeds_of_their_own(jobs: Jobs, tmp_path: Path) -> None:
    made = jobs.create(command(tmp_path), replicates=3)
    assert [job.label for job in made] == [f"def/first/version_{n}" for n in (1, 2, 3)]
    assert [job.document["seed"] for job in made] == [0, 1, 2]
    [later] = jobs.create(command(tmp_path))
    assert later.label == "def/first/version_4"


def test_two_at_once_take_no_version_together(jobs: Jobs, tmp_path: Path) -> None:
    base = command(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: Jobs(scheduler=shell(tmp_path)).create(base, 3), range(8)))
    labels = [job.label for jobs_of_one in made for job in jobs_of_one]
    assert sorted(labels) == sorted({*labels})
    assert {*labels} == {f"def/first/version_{n}" for n in range(1, 25)}


@pytest.mark.parametrize(
    ("what", "state", "said"),
    [
        ("", "complete", ""),
        ("fail", "error", "ValueError: no such thing"),
        ("die", "error", "out of memory? ask for more, or take a smaller --batch-size (exit code 137)"),
    ],
)
def test_a_job_that_ended_says_how(what: str, state: str, said: str, jobs: Jobs) -> None:
    [status] = jobs.submit(do(what), wait=20.0)
    assert (status.state, status.said) == (state, said)
    assert f"def/first/version_1  {state}" in str(jobs.status())


def test_data_that_are_not_there_are_told_at_once(jobs: Jobs, tmp_path: Path) -> None:
    words = [*command(tmp_path).argv[:3], str(tmp_path / "none")]
    [status] = jobs.submit(Command("first", words), wait=20.0)
    assert status.said == f"error: --data {tmp_path}/none is not there, on {os.uname().nodename}"


@pytest.mark.parametrize("stage", ["link", "copy", "extract"])
def test_data_come_to_the_node(stage: str, tmp_path: Path, jobs: Jobs) -> None:
    base = command(tmp_path)
    data = "data"
    if stage == "extract":
        with tarfile.open("data.tar.gz", "w:gz") as tar:
            tar.add("data/x.fa", "inside.fa")
        data = "data.tar.gz"
    scheduler = shell(tmp_path, stage=None if stage == "extract" else stage)
    own = Jobs(scheduler=scheduler)
    [job] = own.create(Command("first", [*base.argv[:2], "--data", data]))
    own.submit(job, wait=20.0)
    name = "inside.fa" if stage == "extract" else "x.fa"
    assert Path(job.folder.out).read_text() == f"at work ['def.py', 'helper.py'] ['{name}']\n"


def test_a_running_job_is_cancelled_and_goes_on_when_it_is_resumed(jobs: Jobs) -> None:
    jobs.submit(do("wait"), wait=0)
    [job] = jobs.find()
    until(jobs.status, lambda status: Path(job.folder.results, "waits").exists())
    assert states(jobs.status()) == {job.label: "running"}
    with pytest.raises(UsageError, match=f"{job.label} is running: there is nothing to resume"):
        jobs.resume("first")
    jobs.cancel("first")
    assert ended(jobs) == {job.label: "cancelled"}
    until(jobs.status, lambda status: "exit 143" in Path(job.folder.events).read_text())
    with pytest.raises(UsageError, match="none of 1 job waits or runs"):
        jobs.cancel("first")
    jobs.resume("first", wait=0)
    until(jobs.status, lambda status: len(runs(job)) == 2)
    assert states(jobs.status()) == {job.label: "running"}
    jobs.cancel("first")
    until(jobs.status, lambda status: Path(job.folder.events).read_text().count("exit 143") == 2)


def test_a_job_that_is_cancelled_before_it_began_never_runs(jobs: Jobs) -> None:
    jobs.submit([do("wait", "a"), do("", "b")], at_once=1, wait=0)
    until(lambda: jobs.status("a"), lambda status: status.state == "running")
    jobs.cancel("b")
    jobs.cancel("a")
    until(jobs.status, lambda status: not jobs.scheduler.known(jobs.os, _attempts(jobs)))
    assert ended(jobs) == {"def/a/version_1": "cancelled", "def/b/version_1": "cancelled"}
    assert not Path("out/def/b/version_1/results").exists()


def _attempts(jobs: Jobs) -> Any:
    from helixband.jobs.schedulers import Attempt

    return [Attempt(job.ids[-1]) for job in jobs.find()]


def test_a_job_whose_processes_are_gone_is_lost_once_it_is_silent(jobs: Jobs) -> None:
    jobs.submit(do("wait"), wait=0)
    [status] = until(jobs.status, lambda status: Path(f"out/{status.job}/results/waits").exists())
    os.kill(status.pid or 0, signal.SIGKILL)
    assert states(jobs.status()) == {status.job: "running"}
    table = until(lambda: jobs.status(silent=0.0), lambda status: status.state == "lost")
    assert table[0].said == "it wrote no end, and nothing is at work on it"
    os.kill(int(Path(f"out/{status.job}/results/waits").read_text()), signal.SIGKILL)
    jobs.resume("first", wait=0)
    until(jobs.status, lambda status: status.state == "running")
    jobs.cancel("first")


def test_the_scheduler_is_asked_of_silent_jobs_alone(jobs: Jobs, monkeypatch: Any) -> None:
    jobs.submit(do(""), wait=20.0)
    calls: list[Any] = []
    monkeypatch.setattr(
        LocalOs, "run", lambda self, argv, stdin=b"": calls.append(argv) or _RUN(self, argv, stdin)
    )
    assert states(jobs.status(silent=0.0)) == {"def/first/version_1": "complete"}
    assert [argv[2] for argv in calls] == ["find"]


_RUN = LocalOs.run


def test_what_is_complete_is_not_done_again_and_what_failed_goes_on(jobs: Jobs) -> None:
    commands = [do("", "good"), do("fail_once", "bad")]
    jobs.submit(commands, wait=20.0)
    assert ended(jobs) == {"def/bad/version_1": "error", "def/good/version_1": "complete"}
    jobs.submit(commands, wait=20.0)
    assert ended(jobs) == {"def/bad/version_1": "complete", "def/good/version_1": "complete"}
    assert {job.document["name"]: len(runs(job)) for job in jobs.find()} == {"good": 1, "bad": 2}
    Path("code/helper.py").write_text("HELP = 2\n")  # other code is another job
    table = jobs.submit(Command("good", commands[0].argv), wait=20.0)
    assert states(table) == {"def/good/version_2": "complete"}


def test_replicates_are_filled_up(jobs: Jobs) -> None:
    jobs.submit(do(""), wait=20.0)
    assert states(jobs.submit(do(""), replicates=3, wait=20.0)) == {
        f"def/first/version_{n}": "complete" for n in (1, 2, 3)
    }
    assert [[words[words.index("--seed") + 1] for words in runs(job)] for job in jobs.find()] == [
        ["0"],
        ["1"],
        ["2"],
    ]


def test_a_grid_runs_so_many_at_once(jobs: Jobs) -> None:
    commands = grid(do("wait"), x=[1, 2, 3])
    jobs.submit(commands, at_once=2, wait=0)
    until(jobs.status, lambda status: len(list(Path("out").rglob("waits"))) == 2)
    assert sorted(states(jobs.status()).values()) == ["running", "running", "submitted"]
    jobs.cancel("*")
    until(jobs.status, lambda status: status.state == "cancelled")


def test_a_debug_run_goes_first(jobs: Jobs) -> None:
    jobs.submit([do("", "good"), do("fail_in_debug", "bad")], debug_first=True, wait=20.0)
    assert ended(jobs) == {
        "def/bad/version_1": "cancelled",
        "def/bad/version_1/debug": "error",
        "def/good/version_1": "complete",
        "def/good/version_1/debug": "complete",
    }
    [status] = [each for each in jobs.status() if each.job == "def/bad/version_1"]
    assert status.said == "its debug run did not succeed"
    first, debug = jobs.find("good")
    assert [("--debug" in words) for job in (first, debug) for words in runs(job)] == [False, True]


def test_the_newest_checkpoint_is_found_when_the_job_begins(jobs: Jobs, tmp_path: Path) -> None:
    base = command(tmp_path, "first", "--load-checkpoint", "old runs/JOB_latest_checkpoint")
    [failed] = jobs.submit(base, wait=20.0)
    assert failed.said == f"error: there is no checkpoint below {tmp_path}/old runs"
    for number, name in enumerate(["b c.pt", "a.pt"]):
        (tmp_path / "old runs" / "x").mkdir(parents=True, exist_ok=True)
        (tmp_path / "old runs" / "x" / name).touch()
        os.utime(tmp_path / "old runs" / "x" / name, (1000 - number, 1000 - number))
    jobs.resume("first", wait=20.0)
    [words] = runs(jobs.find()[0])
    assert words[words.index("--load-checkpoint") + 1] == f"{tmp_path}/old runs/x/b c.pt"


def test_who_sent_what_where_is_logged(jobs: Jobs) -> None:
    jobs.submit(grid(do(""), x=[1, 2]), wait=20.0)
    [line] = [json.loads(line) for line in Path("out/submissions.jsonl").read_text().splitlines()]
    assert (line["machine"], line["scheduler"]) == ("here", "shell")
    assert list(line["jobs"]) == ["def/first/x=1/version_1", "def/first/x=2/version_1"]
    assert line["by"].endswith(f"@{os.uname().nodename}")


def test_a_folder_that_is_deleted_while_its_job_runs_is_gone(jobs: Jobs) -> None:
    jobs.submit(do("wait"), wait=0)
    [status] = until(jobs.status, lambda status: Path(f"out/{status.job}/results/waits").exists())
    shutil.rmtree(f"out/{status.job}")
    assert str(jobs.status()) == "no jobs"
    os.kill(status.pid or 0, signal.SIGTERM)
    until(jobs.status, lambda status: True)
    with pytest.raises(UsageError, match="out has no job 'first'; there are none at all"):
        jobs.status("first")


def test_jobs_are_found_by_name_folder_or_pattern(jobs: Jobs) -> None:
    jobs.create(grid(do(""), x=[1, 2]))
    for name in ("first/x=1", "def/first/x=1/version_1", "out/def/first/x=1", "*/x=1/*", "first/x=1/"):
        assert [job.label for job in jobs.find(name)] == ["def/first/x=1/version_1"]
    assert len(jobs.find("first")) == len(jobs.find()) == 2
    with pytest.raises(UsageError, match="out has no job 'x=3'; there are def/first/x=1/version_1, def/"):
        jobs.find("x=3")


def test_results_are_fetched_and_read_as_jobs_where_they_are(jobs: Jobs, tmp_path: Path) -> None:
    jobs.submit(do(""), wait=20.0)
    assert jobs.fetch("first", tmp_path / "home") == [tmp_path / "home/def/first/version_1"]
    assert states(Jobs(str(tmp_path / "home")).status()) == {"def/first/version_1": "complete"}
    assert (tmp_path / "home/def/first/version_1/results/runs").exists()


def test_the_log_is_the_end_of_what_was_printed(jobs: Jobs) -> None:
    jobs.submit(do("fail"), wait=20.0)
    assert jobs.log("first", lines=1) == (
        "== def/first/version_1/job.out\nat work ['def.py', 'helper.py'] ['x.fa']\n"
        "== def/first/version_1/job.err\nValueError: no such thing"
    )


def test_two_look_at_the_same_jobs_at_once(jobs: Jobs) -> None:
    jobs.create(do(""), replicates=20)
    with ThreadPoolExecutor(4) as pool:
        tables = list(pool.map(lambda _: states(jobs.status()), range(8)))
    assert all(table == tables[0] for table in tables) and len(tables[0]) == 20


@pytest.mark.parametrize(
    "name", ["a b", "it's", 'say "x"', "x;touch hacked", "$(touch hacked)", "#1", "é", "-rf", "*"]
)
def test_names_are_never_code(name: str, jobs: Jobs) -> None:
    [status] = jobs.submit(do("", f"x/{name}"), wait=20.0)
    assert (status.job, status.state) == (f"def/x/{name}/version_1", "complete")
    assert not list(Path().rglob("hacked"))


def test_a_damaged_job_json_is_told(jobs: Jobs) -> None:
    [job] = jobs.create(do(""))
    Path(job.folder.document).write_text('{"ids": 3}')
    with pytest.raises(HelixbandError, match="job.json is not as it was written: ids is 3"):
        jobs.status()


def test_jobs_survive_the_process_that_submitted_them(tmp_path: Path, jobs: Jobs) -> None:
    command(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from jobs_toys import *\n"
        "from helixband.jobs import Jobs\n"
        "Jobs(scheduler=shell(Path())).submit(command(Path(), 'first', '--set', 'do=wait'), wait=0)\n"
    )
    here = str(Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code, here], check=True, env=environment, start_new_session=True)
    until(jobs.status, lambda status: Path(f"out/{status.job}/results/waits").exists())
    jobs.cancel("first")
    until(jobs.status, lambda status: status.state == "cancelled")


def test_hyperparameters_and_results_are_one_table(jobs: Jobs) -> None:
    base = do("")
    made = [
        Command("a", base.argv, {"lr": 0.001, "label": "x\ty"}),
        Command("b", [*base.argv, "--epoch", "2"]),
    ]
    jobs.submit(made, wait=20.0)
    ended(jobs)
    for job, config, metrics in zip(
        jobs.find(), ({"lr": 0.001}, {"units": [2]}), ({"mse": 0.5}, {}), strict=True
    ):
        best = Path(job.folder.results, "best_config")
        best.mkdir()
        (best / "config.json").write_text(json.dumps(config))
        (best / "train_results.json").write_text('{"epochs": 2, "reward": -1.5}')
        Path(job.folder.results, "test_result.json").write_text(json.dumps(metrics))
    assert jobs.collect().splitlines() == [
        "job\tstate\treward\thp_lr\thp_label\thp_units\ttest_mse",
        'def/a/version_1\tcomplete\t-1.5\t0.001\t"x\\ty"\t\t0.5',
        "def/b/version_1\tcomplete\t-1.5\t\t\t[2]\t",
    ]
    assert jobs.collect("a").count("\n") == 2


def test_predictions_are_merged_where_their_files_are(jobs: Jobs, monkeypatch: Any) -> None:
    jobs.create(do(""))
    with pytest.raises(UsageError, match="is no result directory|there is no directory"):
        jobs.collect_predictions("g.fa")
    monkeypatch.setattr(LocalOs, "is_here", False)
    with pytest.raises(UsageError, match="the predictions are on here: fetch the jobs"):
        jobs.collect_predictions("g.fa")


def test_a_machine_of_the_users_own_as_the_docs_have_it(tmp_path: Path, jobs: Jobs, monkeypatch: Any) -> None:
    text = (ROOT / "docs" / "jobs.md").read_text()
    names: dict[str, Any] = {}
    exec(
        next(
            code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "class Container" in code
        ),
        names,
    )
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin" / "docker"
    docker.write_text('#!/bin/sh\nshift 3\nexec "$@"\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    own = Jobs(os=names["Container"]("trainer"), scheduler=shell(tmp_path))
    assert [job.folder.version for job in own.create(do(""), replicates=2)] == [1, 2]
    own.submit(own.find("first/version_1"), wait=0)
    until(lambda: own.status("first/version_1"), lambda status: status.state == "complete")
    assert own.os.write({f"{tmp_path}/bin/docker": b"x"}, exclusive=True) == [f"{tmp_path}/bin/docker"]
    own.fetch("first/version_1", "home")
    assert Path("home/def/first/version_1/results/runs").exists()


def test_what_is_at_work_or_complete_is_not_submitted_again(jobs: Jobs) -> None:
    jobs.submit([do("", "done"), do("fail_once", "failed")], wait=20.0)
    ended(jobs)
    [done] = jobs.find("done")
    with pytest.raises(UsageError, match="def/done/version_1 is complete: there is nothing to resume"):
        jobs.submit(done)
    assert states(jobs.resume("*", wait=20.0)) == {"def/failed/version_1": "complete"}
    assert len(runs(done)) == 1


def test_code_and_data_come_to_the_storage_that_slurm_gives(
    jobs: Jobs, monkeypatch: Any, tmp_path: Path
) -> None:
    (tmp_path / "node").mkdir()
    monkeypatch.setenv("SLURM_TMPDIR", str(tmp_path / "node"))
    jobs.submit(do(""), wait=20.0)
    [words] = runs(jobs.find()[0])
    assert words[words.index("--data") + 1].startswith(f"{tmp_path}/node/helixband.")
    assert not list((tmp_path / "node").iterdir())


def test_an_environment_is_made_for_the_run_where_it_is_asked_for(jobs: Jobs, tmp_path: Path) -> None:
    python = tmp_path / "python"
    makes = '[ "$2" != venv ] || { mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; }'
    python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n{makes}\n')
    python.chmod(0o755)
    base = do("")
    (tmp_path / "code" / "more.txt").write_text("x==1\n")
    own = Jobs(scheduler=Shell(python=str(python), program=["main.py"], requirements="more.txt"))
    own.submit(base, wait=20.0)
    assert states(own.status()) == {"def/first/version_1": "complete"}
    venv, pip, run = (tmp_path / "calls").read_text().splitlines()
    assert venv.startswith("-m venv /")
    assert pip == "-m pip install --quiet --requirement more.txt"
    assert run.startswith("main.py --model def.py --seed 0 --set do= --data /")
    with tarfile.open("out/def/first/version_1/code.tar.gz") as tar:
        assert "more.txt" in tar.getnames()
