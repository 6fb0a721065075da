"""Jobs sent again, beside others that fail, or by one that got no answer: none is lost, or run twice."""

import time
from pathlib import Path
from typing import Any

import pytest
from jobs_toys import command, shell, states, until

from helixband.errors import StorageError, UsageError
from helixband.jobs import Command, Job, Jobs, LocalOs, Shell, Slurm, Status
from helixband.jobs.schedulers import Attempt
from helixband.jobs.settings import read_settings
from helixband.jobs.status import OVER, judge, read_events
from helixband.results.glance import Glance

LATE = """
import pathlib, signal, sys, time
results = pathlib.Path(sys.argv[sys.argv.index("--result") + 1])
results.mkdir(exist_ok=True)
def late(*_):
    while not (results / "let go").exists():
        time.sleep(0.05)
    sys.exit(143)
signal.signal(signal.SIGTERM, late)
(results / "waits").touch()
time.sleep(60)
"""
"""Takes its time to end, as a run does that keeps its last epoch."""


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return Jobs(scheduler=shell(tmp_path))


def do(what: str, name: str = "first") -> Command:
    return command(Path(), name, "--set", f"do={what}")


def is_over(status: Status) -> bool:
    return status.state in OVER


@pytest.mark.parametrize("end", ["sys.exit(255)", "os.kill(os.getppid(), 9)"])
def test_the_others_of_a_grid_run_however_one_ends(end: str, jobs: Jobs, tmp_path: Path) -> None:
    main = tmp_path / "main_of_tests.py"
    main.write_text(f"import os, sys\nif 'do=end' in sys.argv:\n    {end}\n")
    jobs.submit([do("end", "a"), do("", "b"), do("", "c")], at_once=1, wait=0)
    table = until(lambda: jobs.status(["b", "c"]), is_over)
    assert [status.state for status in table] == ["complete", "complete"]


def test_one_that_waits_for_its_turn_is_not_said_to_run(jobs: Jobs) -> None:
    jobs.submit([do("wait", "a"), do("", "b")], at_once=1, wait=0)
    until(lambda: jobs.status("a"), lambda status: status.state == "running")
    assert states(jobs.status(silent=0.0)) == {"def/a/version_1": "running", "def/b/version_1": "submitted"}
    assert "def/b/version_1\tsubmitted" in jobs.collect()
    jobs.cancel(["a", "b"])


def test_a_job_that_is_still_ending_is_not_begun_beside_itself(jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "main_of_tests.py").write_text(LATE)
    jobs.submit(do(""), wait=0)
    [job] = jobs.find()
    results = Path(job.folder.results)
    until(jobs.status, lambda status: (results / "waits").exists())
    jobs.cancel("first")
    with pytest.raises(UsageError, match="first/version_1 is cancelled, and still at work: wait"):
        jobs.resume("first")
    assert len(jobs.submit(do(""), wait=0)) == 1 and len(jobs.find("first")[0].ids) == 1
    (results / "let go").touch()
    until(jobs.status, lambda status: b"exit 143" in Path(job.folder.events).read_bytes())
    (tmp_path / "main_of_tests.py").write_text("")
    limit = time.monotonic() + 10
    while Shell().known(LocalOs(), [Attempt(status.id or "", status.pid) for status in jobs.status()]):
        assert time.monotonic() < limit
        time.sleep(0.02)
    jobs.resume("first", wait=0)
    assert states(until(jobs.status, is_over)) == {"def/first/version_1": "complete"}


def test_what_slurm_has_put_back_into_the_queue_is_not_resumed(
    tmp_path: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another took its place: its files say preempted, and Slurm begins it again by itself."""
    [job] = jobs.create(do(""))
    job = job.submitted("slurm", "7", None)
    Path(job.folder.document).write_bytes(job.dumped())
    Path(job.folder.events).write_text("start n:5 T 7\nsignal TERM:PREEMPTED T 7\nexit 143 T 7\n")
    words: dict[str, str] = {"7": "PENDING"}
    monkeypatch.setattr(Slurm, "known", lambda self, os, attempts: words)
    assert [status.state for status in jobs.status()] == ["preempted"]
    with pytest.raises(UsageError, match="is preempted, and still at work"):
        jobs.resume("first")
    words["7"] = "PREEMPTED"
    jobs.resume("first", wait=0)
    assert states(until(jobs.status, is_over)) == {"def/first/version_1": "complete"}


@pytest.mark.parametrize(
    ("lines", "ids", "state"),
    [
        (["start n:5 T 9"], (), "running"),
        (["start n:5 T 9", "exit 0 T 9"], (), "complete"),
        (["start n:5 T 1", "exit 1 T 1", "start n:6 T 9"], ("1",), "running"),
        (["start n:5 T 1", "exit 1 T 1", "start n:6 T 9", "exit 0 T 9"], ("1",), "complete"),
        (["start n:5 T 9", "exit 1 T 9"], ("1",), "submitted"),
        (["start n:5 T 9", "exit 1 T 9", "start n:6 T 1"], ("1",), "running"),
    ],
)
def test_an_attempt_whose_submission_got_no_answer_counts(
    lines: list[str], ids: tuple[str, ...], state: str
) -> None:
    events = read_events("".join(f"{line}\n" for line in lines).encode())
    assert judge("x", ids, events, b"", Glance(), None).state == state


def test_a_job_whose_id_was_not_kept_is_cancelled(jobs: Jobs) -> None:
    jobs.submit(do("wait"), wait=0)
    until(jobs.status, lambda status: status.state == "running")
    [job] = jobs.find()
    forgotten = Job(job.folder, job.label, {**job.document, "ids": []})
    Path(job.folder.document).write_bytes(forgotten.dumped())
    assert states(jobs.cancel("first")) == {"def/first/version_1": "cancelled"}
    until(jobs.status, lambda status: b"exit" in Path(job.folder.events).read_bytes())


def test_each_submission_has_an_id_of_its_own_after_the_machine_began_anew(jobs: Jobs) -> None:
    jobs.submit(do("fail"), wait=0)
    until(jobs.status, is_over)
    pid, began, *numbers = jobs.find()[0].ids[0].split(".")
    assert pid.isdecimal() and abs(int(began) - time.time()) < 60 and numbers == ["0", "0"]


def test_a_job_created_before_runs_after_its_debug_run(jobs: Jobs) -> None:
    jobs.create(do(""))
    jobs.submit(jobs.find("first"), debug_first=True, wait=0)
    assert states(until(jobs.status, is_over)) == {
        "def/first/version_1": "complete",
        "def/first/version_1/debug": "complete",
    }
    titles = [line for line in jobs.log("first").splitlines() if line.startswith("== ")]
    assert titles == ["== def/first/version_1/job.out", "== def/first/version_1/debug/job.out"]
    jobs.create(do("", "other"))
    assert jobs.log("other") == "def/other/version_1 has printed nothing yet"


def test_what_a_run_sends_itself_has_no_id_of_its_job(jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "main_of_tests.py").write_text("import os\nprint(sorted(os.environ))\n")
    jobs.submit(do(""), wait=0)
    until(jobs.status, is_over)
    assert "HELIXBAND_DRIVER" in jobs.log("first") and "HELIXBAND_JOB_ID" not in jobs.log("first")


def test_jobs_on_other_data_are_other_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for place in ("a", "b", "a"):
        (tmp_path / place / "data").mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "def.py").write_text("")
        monkeypatch.chdir(tmp_path / place)
        same = Command("same", ["--model", "def.py", "--data", "data"])
        jobs = Jobs(str(tmp_path / "out"), scheduler=shell(tmp_path))
        jobs.submit(same, wait=0)
        until(jobs.status, is_over)
    assert [job.document["data"] for job in jobs.find()] == [f"{tmp_path}/a/data", f"{tmp_path}/b/data"]


def test_settings_that_are_mended_count_for_what_is_sent_again(
    tmp_path: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Jobs(scheduler=shell(tmp_path, setup="exit 3"))
    wrong.submit(do(""), wait=0)
    until(wrong.status, is_over)
    with_its_own = Jobs()
    with_its_own.resume("first", wait=0)
    assert [status.state for status in until(jobs.status, is_over)] == ["error"]
    jobs.resume("first", wait=0)
    assert [status.state for status in until(jobs.status, is_over)] == ["complete"]
    wrong.submit(do("", "other"), wait=0)
    until(jobs.status, is_over)
    jobs.submit(do("", "other"), wait=0)
    table = until(lambda: jobs.status("other"), is_over)
    assert states(table) == {"def/other/version_1": "complete"}


def test_a_full_disk_leaves_no_half_of_a_job(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.create(do(""))
    write = LocalOs.write

    def full(self: LocalOs, files: Any, exclusive: bool = False) -> list[str]:
        if any(path.endswith("job.sh") for path in files):
            raise StorageError("cannot write job.sh: No space left on device")
        return write(self, files, exclusive)

    with monkeypatch.context() as context:
        context.setattr(LocalOs, "write", full)
        with pytest.raises(StorageError, match="No space left"):
            jobs.create([do(""), do("", "a b")], replicates=2)
    assert states(jobs.status()) == {"def/first/version_1": "created"}
    assert Path("out/def/first/version_1/job.sh").is_file()


@pytest.mark.parametrize("number", [0, -1])
def test_a_number_of_jobs_is_one_at_least(number: int, jobs: Jobs) -> None:
    for call in (
        lambda: jobs.create(do(""), replicates=number),
        lambda: jobs.submit(do(""), replicates=number),
        lambda: jobs.submit(do(""), at_once=number),
        lambda: jobs.resume("*", at_once=number),
        lambda: jobs.log("*", lines=number),
    ):
        with pytest.raises(UsageError, match=f"is {number}: give a number from 1 on"):
            call()
    assert not Path("out").exists()


@pytest.mark.parametrize("name", ["arrays", "x/arrays/y", "debug", "debug/arrays"])
@pytest.mark.parametrize("out", ["out", "o[u]t *?"])
def test_a_job_is_found_whatever_it_is_called(name: str, out: str, jobs: Jobs) -> None:
    jobs = Jobs(out, scheduler=jobs.scheduler)
    Path(out, "arrays", "x", "version_1").mkdir(parents=True)
    Path(out, "arrays", "x", "version_1", "job.json").write_text("{}")
    jobs.create(do("", name), replicates=2)
    assert sorted(states(jobs.status())) == [f"def/{name}/version_{n}" for n in (1, 2)]


@pytest.mark.parametrize("stem", ["arrays", "version_2"])
def test_a_definition_whose_folder_would_be_no_place_for_jobs_is_refused(stem: str) -> None:
    with pytest.raises(UsageError, match=f"the definition is called {stem}.py"):
        Command("x", ["--model", f"code/{stem}.py"])


def test_a_host_with_dots_has_a_section_in_quotation_marks(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    settings = tmp_path / "helixband" / "jobs.toml"
    settings.parent.mkdir()
    settings.write_text("[login.lab.org]\nout = '/scratch'\n")
    with pytest.raises(UsageError, match=r'write \["login.lab.org"\]'):
        read_settings("login.lab.org")
    assert read_settings("other.lab.org").out == "out"
    settings.write_text("['login.lab.org']\nout = '/scratch'\n")
    assert read_settings("login.lab.org").out == "/scratch"


def test_two_who_submit_a_job_at_once_do_not_run_it_twice(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    [job] = jobs.create(do(""))
    submit = Shell.submit

    def meanwhile(self: Shell, *args: Any) -> list[list[str]]:
        with pytest.raises(UsageError, match="first/version_1 is submitted by somebody else just now"):
            jobs.submit(job, wait=0)
        return submit(self, *args)

    with monkeypatch.context() as context:
        context.setattr(Shell, "submit", meanwhile)
        jobs.submit(job, wait=0)
    until(jobs.status, is_over)
    with pytest.raises(UsageError, match="somebody else just now"):  # by what it was before
        jobs._submit([job], None, ())
    [job] = jobs.find()
    assert len(job.ids) == 1 and Path(job.folder.events).read_text().count("start ") == 1


def test_what_a_scheduler_refused_can_be_submitted(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise StorageError("no")

    with monkeypatch.context() as context, pytest.raises(StorageError, match="no"):
        context.setattr(Shell, "submit", refuse)
        jobs.submit(do(""))
    jobs.submit(do(""), wait=0)
    assert states(until(jobs.status, is_over)) == {"def/first/version_1": "complete"}


def test_an_empty_list_of_names_is_not_all(jobs: Jobs) -> None:
    jobs.create(do(""))
    for call in (jobs.cancel, jobs.resume, jobs.fetch):
        with pytest.raises(UsageError, match="this needs the names of jobs"):
            call([])


@pytest.mark.parametrize("what", ["first", [3], [None]])
def test_what_is_no_job_is_refused(what: Any, jobs: Jobs) -> None:
    for call in (jobs.submit, jobs.create):
        with pytest.raises(UsageError, match="is no job: give a Command"):
            call(what)
    [made] = jobs.create(do(""))
    with pytest.raises(UsageError, match="def/first/version_1 is made already"):
        jobs.create(made)


def test_a_file_where_jobs_are_to_be_fetched_to_is_told(jobs: Jobs) -> None:
    jobs.create(do(""))
    Path("taken").touch()
    with pytest.raises(StorageError, match="cannot make the folder taken/def/first/version_1: Not a dir"):
        jobs.fetch("first", "taken")
