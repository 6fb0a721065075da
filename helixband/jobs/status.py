"""What became of a job, from its files alone."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from helixband.results.glance import Glance

STATES = {
    "created": "submit it",
    "submitted": "wait for its turn",
    "running": "wait, or look at what it prints with log",
    "complete": "nothing: look at its results, or fetch or collect them",
    "timeout": "resume: it goes on where it stopped",
    "preempted": "resume: it goes on where it stopped",
    "cancelled": "resume, if it is wanted after all: it goes on where it stopped",
    "error": "look at log, mend the cause, and resume; changed code needs a new job",
    "lost": "resume: nothing is at work on it",
}
"""Each state, with what to do next."""

OVER = ("complete", "timeout", "preempted", "cancelled", "error", "lost")
GOES_ON = ("created", "timeout", "preempted", "cancelled", "error", "lost")
"""What `resume` takes."""

SILENT_SECONDS = 600.0
"""A job that is to run and has written nothing for so long may be gone: the scheduler is asked."""

OUT_OF_MEMORY = "out of memory? ask for more, or take a smaller --batch-size"
_MEMORY_WORDS = re.compile(r"(?i)out.of.memory|oom.kill|OutOfMemoryError|MemoryError")

_OF_SCHEDULER = {
    "TIMEOUT": "timeout",
    "DEADLINE": "timeout",
    "PREEMPTED": "preempted",
    "REVOKED": "preempted",
    "CANCELLED": "cancelled",
    "FAILED": "error",
    "OUT_OF_MEMORY": "error",
    "NODE_FAIL": "error",
    "BOOT_FAIL": "error",
    "PENDING": "submitted",
    "CONFIGURING": "submitted",
    "REQUEUED": "submitted",
    "REQUEUE_HOLD": "submitted",
    "REQUEUE_FED": "submitted",
    "SPECIAL_EXIT": "submitted",
    "RESV_DEL_HOLD": "submitted",
    "RUNNING": "running",
    "COMPLETING": "running",
    "SUSPENDED": "running",
    "STOPPED": "running",
    "SIGNALING": "running",
    "RESIZING": "running",
    "STAGE_OUT": "running",
}
"""What a scheduler says of a job, and the state that this is."""


@dataclass(frozen=True)
class Event:
    """A line of job.events."""

    what: str
    detail: str
    time: str
    id: str


def read_events(content: bytes) -> list[Event]:
    """The events in order; a line that is not whole, as of a full disk, is left out.

    >>> read_events(b"start node1:17 2026-01-31T12:00:00Z 4\\nexit 0 2026-01")
    [Event(what='start', detail='node1:17', time='2026-01-31T12:00:00Z', id='4')]
    """
    lines = content.decode(errors="replace").split("\n")[:-1]
    return [Event(*words) for words in map(str.split, lines) if len(words) == 4]


@dataclass(frozen=True)
class Status:
    """A job at one time.

    `state`: one of `STATES`. `said`: why it ended, in a line. `changed`: when it last wrote something, in
    seconds of the epoch. `pid`: of the script that runs or ran, on `host`.
    """

    job: str
    state: str
    glance: Glance
    said: str = ""
    changed: float | None = None
    id: str | None = None
    pid: int | None = None
    host: str | None = None

    @property
    def next(self) -> str:
        """What to do."""
        return STATES[self.state]


def judge(
    job: str,
    ids: Sequence[str],
    events: Sequence[Event],
    errors: bytes,
    seen: Glance,
    changed: float | None,
) -> Status:
    """The status of a job that got these ids in turn: the last attempt decides.

    `errors`: the end of what it printed as errors. Whether a scheduler still knows it is not asked here.
    """
    id = _deciding(ids, events)
    if id is None:
        return Status(job, "created", seen)
    own = [event for event in events if event.id == id]
    cancelled = any(event.what == "cancel" for event in own)
    begins = [number for number, event in enumerate(own) if event.what == "start"]
    if not begins:
        return Status(job, "cancelled" if cancelled else "submitted", seen, changed=changed, id=id)
    attempt = own[begins[-1] :]
    host, _, pid = attempt[0].detail.rpartition(":")
    state, said = _outcome(attempt, errors)
    if cancelled and state != "complete":
        state, said = "cancelled", ""
    return Status(job, state, seen, said, changed, id, int(pid) if pid.isdecimal() else None, host)


def _deciding(ids: Sequence[str], events: Sequence[Event]) -> str | None:
    """The id of the last attempt.

    One that job.json does not have counts too, where it began last: its submission got no answer, as where
    the connection was lost or the disk was full.
    """
    begun = [event.id for event in events if event.what == "start"]
    if begun and begun[-1] not in ids:
        ended = any(event.what == "exit" and event.id == begun[-1] for event in events)
        if not ids or not ended or ids[-1] in begun:
            return begun[-1]
    return ids[-1] if ids else None


def state_of(word: str) -> str:
    """The state that a word of a scheduler stands for; lost, where it is none of those that are known."""
    return _OF_SCHEDULER.get(word.split(" ")[0], "lost")


def judge_silent(status: Status, known: Mapping[str, str], events: Sequence[Event]) -> Status:
    """The status of one that is to run and is silent, by what the scheduler says of ids that it knows."""
    word = known.get(status.id or "")
    attempt = [event for event in events if event.id == status.id]
    signalled = _signal(attempt)
    if word is None:
        state = signalled or "lost"
    else:
        state = state_of(word)
    said = status.said
    if word is not None and state != status.state:
        said = OUT_OF_MEMORY if word == "OUT_OF_MEMORY" else f"the scheduler says {word}"
    elif state == "lost":
        said = "it wrote no end, and nothing is at work on it"
    return Status(status.job, state, status.glance, said, status.changed, status.id, status.pid, status.host)


def _outcome(attempt: Sequence[Event], errors: bytes) -> tuple[str, str]:
    """(state, why) by the events of the last attempt."""
    if [event.detail for event in attempt if event.what == "requeue"] == ["-"]:
        return "submitted", f"it was stopped ({_signal(attempt)}), and goes on by itself"
    code = next((event.detail for event in reversed(attempt) if event.what == "exit"), None)
    if code is None:
        return "running", ""
    if code == "0":
        return "complete", ""
    if (state := _signal(attempt)) is not None:
        return state, ""
    last = last_line(errors)
    if _MEMORY_WORDS.search(last):
        return "error", f"{OUT_OF_MEMORY} ({last})"
    if code == "137":
        return "error", f"{OUT_OF_MEMORY} (exit code 137)"
    return "error", last or f"exit code {code}"


def _signal(attempt: Sequence[Event]) -> str | None:
    """The state that a signal has brought, or None; Slurm's word comes first, as far as it has one."""
    found = [event.detail.partition(":")[::2] for event in attempt if event.what == "signal"]
    states = [_OF_SCHEDULER.get(word) for _, word in found]
    ends = [state for state in states if state in ("timeout", "preempted", "cancelled")]
    if ends:
        return ends[0]
    if any(state == "submitted" for state in states):  # it waits again, as another took its place
        return "preempted"
    if found:
        return "timeout" if found[0][0] == "USR1" else "cancelled"
    return None


def last_line(errors: bytes) -> str:
    """What went wrong: the last line that says `error:`, or else the last that is not of Slurm.

    >>> last_line(b"Traceback\\nValueError: no\\nslurmstepd: error: *** JOB 5 ***\\n")
    'ValueError: no'
    """
    lines = [line.strip() for line in errors.decode(errors="replace").splitlines() if line.strip()]
    slurm = [line for line in lines if re.match(r"(slurmstepd|slurmd)[^ ]*: ", line)]
    own = [line for line in lines if line not in slurm]
    if memory := next((line for line in slurm if _MEMORY_WORDS.search(line)), None):
        return memory
    said = [line for line in own if line.startswith("error: ")]
    return (said or own or slurm or [""])[-1]


class Table(list[Status]):
    """Statuses, which print as a table with what to do next; in a notebook too."""

    def __init__(self, statuses: Sequence[Status], command: str = "python -m helixband.jobs") -> None:
        super().__init__(statuses)
        self._command = command

    def __str__(self) -> str:
        if not self:
            return "no jobs"
        rows: list[tuple[str, ...]] = [("job", "state", "progress", "reward", "last sign", "")]
        rows += [tuple(map(_in_a_line, row(each))) for each in self]
        widths = [max(len(each[column]) for each in rows) for column in range(5)]
        lines = [
            "  ".join(
                [*(text.ljust(width) for text, width in zip(each, widths, strict=False)), each[5]]
            ).rstrip()
            for each in rows
        ]
        return "\n".join([*lines, "", *self.advice()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"

    def advice(self) -> list[str]:
        """How many there are of each state, and what to do with these."""
        counts = {state: sum(each.state == state for each in self) for state in STATES}
        return [f"{count} {state}: {STATES[state]}" for state, count in counts.items() if count]


def row(status: Status) -> tuple[str, ...]:
    """The cells of a status."""
    reward = status.glance.reward
    shown = "" if reward is None else f"{reward:.5g}"
    ago = "" if status.changed is None else shown_time(time.time() - status.changed)
    return status.job, status.state, str(status.glance), shown, ago, status.said


def shown_time(seconds: float) -> str:
    """A time as a person says it.

    >>> shown_time(5), shown_time(90), shown_time(7500), shown_time(200000)
    ('5 s', '1 min', '2 h', '2 d')
    """
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def now() -> str:
    """The time as job.events has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _in_a_line(text: Any) -> str:
    return re.sub(r"[\x00-\x1f\x7f]+", " ", str(text))[:300]
