"""What became of a job, from its files; tests/jobs/states has those of real jobs in each state."""

from pathlib import Path

import pytest
from jobs_toys import states

from helixband.jobs import Jobs, Slurm, Status, Table
from helixband.jobs.schedulers import NOT_KNOWN_HERE
from helixband.jobs.status import STATES, Event, judge, judge_silent, last_line, read_events
from helixband.results.glance import Glance, glance

REAL = Path(__file__).parent / "states"
MEMORY = "out of memory? ask for more, or take a smaller --batch-size"


def test_the_files_of_real_jobs_tell_their_states() -> None:
    table = Jobs(str(REAL)).status(silent=1e12)
    assert {status.job.split("/")[1]: (status.state, status.said) for status in table} == {
        "cancelled": ("cancelled", ""),
        "complete": ("complete", ""),
        "created": ("created", ""),
        "error": ("error", "ValueError: no such thing"),
        "lost": ("running", ""),
        "memory": ("error", f"{MEMORY} (exit code 137)"),
        "preempted": ("preempted", ""),
        "running": ("running", ""),
        "scancel": ("cancelled", ""),
        "submitted": ("submitted", ""),
        "timeout": ("timeout", ""),
    }


def test_of_silent_jobs_the_scheduler_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs(str(REAL))
    ids = {job.label.split("/")[1]: job.ids[-1] for job in jobs.find() if job.ids}
    words = {ids["submitted"]: "PENDING"}
    monkeypatch.setattr(Slurm, "known", lambda self, os, attempts: words)
    monkeypatch.setattr(type(jobs.scheduler), "known", lambda self, os, attempts: {})
    now = {name.split("/")[1]: state for name, state in states(jobs.status(silent=0.0)).items()}
    assert (now["submitted"], now["running"], now["lost"]) == ("submitted", "lost", "lost")
    words[ids["running"]] = "OUT_OF_MEMORY"
    [running] = jobs.status("running", silent=0.0)
    assert (running.state, running.said) == ("error", MEMORY)


def test_where_no_scheduler_is_to_be_reached_the_files_alone_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Slurm, "known", lambda self, os, attempts: {each.id: NOT_KNOWN_HERE for each in attempts}
    )
    now = {name.split("/")[1]: state for name, state in states(Jobs(str(REAL)).status(silent=0.0)).items()}
    assert (now["submitted"], now["running"]) == ("submitted", "running")
    assert now["lost"] == "running"  # its processes are, or were, those of another machine


def status_of(*lines: str, errors: bytes = b"", ids: tuple[str, ...] = ("1",)) -> Status:
    events = read_events("".join(f"{line}\n" for line in lines).encode())
    return judge("x", ids, events, errors, Glance(), None)


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        ([], "submitted"),
        (["start n:5 T 1"], "running"),
        (["start n:5 T 1", "signal USR1:RUNNING T 1"], "running"),
        (["start n:5 T 1", "signal USR1:RUNNING T 1", "exit 143 T 1"], "timeout"),
        (["start n:5 T 1", "signal USR1:- T 1", "exit 0 T 1"], "complete"),
        (["start n:5 T 1", "signal TERM:- T 1", "exit 143 T 1"], "cancelled"),
        (["start n:5 T 1", "signal TERM:COMPLETING T 1", "exit 143 T 1"], "cancelled"),
        (["start n:5 T 1", "signal TERM:PENDING T 1", "exit 143 T 1"], "preempted"),
        (
            ["start n:5 T 1", "signal USR1:SIGNALING T 1", "signal TERM:TIMEOUT T 1", "exit 143 T 1"],
            "timeout",
        ),
        (["start n:5 T 1", "signal USR1:RUNNING T 1", "exit 143 T 1", "requeue - T 1"], "submitted"),
        (
            [
                "start n:5 T 1",
                "signal USR1:RUNNING T 1",
                "exit 143 T 1",
                "requeue - T 1",
                "requeue refused T 1",
            ],
            "timeout",
        ),
        (["start n:5 T 1", "exit 143 T 1", "requeue - T 1", "start n:6 T 1"], "running"),
        (["start n:5 T 1", "exit 1 T 1"], "error"),
        (["start n:5 T 1", "exit 1 T 1", "start n:6 T 1", "exit 0 T 1"], "complete"),
        (["start n:5 T 0", "exit 1 T 0"], "submitted"),
        (["cancel user T 0", "start n:5 T 1"], "running"),
        (["cancel user T 1"], "cancelled"),
        (["start n:5 T 1", "cancel user T 1"], "cancelled"),
        (["start n:5 T 1", "exit 0 T 1", "cancel user T 1"], "complete"),
    ],
)
def test_the_last_attempt_decides(lines: list[str], state: str) -> None:
    assert status_of(*lines, ids=("0", "1")).state == state


def test_a_job_without_an_id_was_only_created() -> None:
    assert status_of(ids=()).state == "created"


def test_a_line_that_is_torn_is_none() -> None:
    assert read_events(b"start n:5 T 1\nexit 0") == [Event("start", "n:5", "T", "1")]
    assert read_events(b"\xff\xfe\n\nexit 0 T 1\n") == [Event("exit", "0", "T", "1")]


@pytest.mark.parametrize(
    ("word", "state"),
    [
        (None, "lost"),
        ("RUNNING", "running"),
        ("PENDING", "submitted"),
        ("TIMEOUT", "timeout"),
        ("PREEMPTED", "preempted"),
        ("CANCELLED", "cancelled"),
        ("NODE_FAIL", "error"),
        ("COMPLETED", "lost"),
    ],
)
def test_what_a_scheduler_says_is_a_state(word: str | None, state: str) -> None:
    known = {"1": word} if word else {}
    assert judge_silent(status_of("start n:5 T 1"), known, []).state == state


def test_a_job_that_a_signal_ended_is_not_lost() -> None:
    lines = ["start n:5 T 1", "signal USR1:RUNNING T 1"]
    assert (
        judge_silent(status_of(*lines), {}, read_events(("\n".join(lines) + "\n").encode())).state
        == "timeout"
    )


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        (b"warning\nTraceback (most recent call last):\n  File x\nValueError: no\n", "ValueError: no"),
        (b"error: def.py, line 3: no\n  in more lines\n", "error: def.py, line 3: no"),
        (
            b"slurmstepd: error: Detected 1 oom-kill event(s)\nx\n",
            f"{MEMORY} (slurmstepd: error: Detected 1 oom-kill event(s))",
        ),
        (
            b"torch.OutOfMemoryError: CUDA out of memory.\n",
            f"{MEMORY} (torch.OutOfMemoryError: CUDA out of memory.)",
        ),
        (b"", "exit code 1"),
        (b"\xff\n", "\ufffd"),
    ],
)
def test_an_error_is_told_in_a_line(errors: bytes, said: str) -> None:
    assert status_of("start n:5 T 1", "exit 1 T 1", errors=errors).said == said


def test_slurms_own_words_are_told_where_there_are_no_others() -> None:
    assert last_line(b"slurmstepd-n1: error: no disk\n") == "slurmstepd-n1: error: no disk"


def test_the_table_has_a_line_for_each_job_and_what_to_do() -> None:
    done = Status("def/a/version_1", "complete", Glance(3, 3, None, 0.123456789), changed=0.0)
    failed = Status("def/b/version_10", "error", Glance(), "no\x1b[2J\nsuch <thing>")
    lines = str(Table([done, failed])).split("\n")
    assert lines[0].split() == ["job", "state", "progress", "reward", "last", "sign"]
    assert lines[1].split()[:5] == ["def/a/version_1", "complete", "epoch", "3/3", "0.12346"]
    assert lines[2].split(None, 2) == ["def/b/version_10", "error", "no [2J such <thing>"]
    assert lines[4:] == [f"1 complete: {STATES['complete']}", f"1 error: {STATES['error']}"]
    assert "such &lt;thing&gt;" in Table([failed])._repr_html_()
    assert str(Table([])) == "no jobs"


def test_progress_is_that_of_a_training_or_a_search() -> None:
    run = b'{"settings": {"epoch": 20}}'
    single = b'{"epochs": 3, "reward": 0.5}'
    assert str(glance({"run.json": run, "trials/single/train_results.json": single})) == "epoch 3/20"
    journal = b'n": 1}\n{"event": "trial", "trial": 4}\n{"event": "result", "trial": 2}\n{"event": "tri'
    search = {"run.json": run, "search/journal.jsonl": journal, "best_config/train_results.json": single}
    assert (str(glance(search)), glance(search).reward) == ("5 trials", 0.5)
    assert str(glance({})) == str(glance({"run.json": b"{"})) == ""
