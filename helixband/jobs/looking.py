"""Looks at the files of many jobs at once, and asks schedulers of those that are silent."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from helixband.jobs.job import Job, read_job
from helixband.jobs.layout import JobFolder
from helixband.jobs.schedulers import NOT_KNOWN_HERE, Attempt, Scheduler
from helixband.jobs.status import OVER, Event, Status, judge, judge_silent, read_events, state_of
from helixband.jobs.systems import Os
from helixband.results.glance import FILES, glance

TAIL = 1 << 14
"""Bytes that are read of the end of each file."""


@dataclass(frozen=True)
class Seen:
    """A job, its status by its files, and its events."""

    job: Job
    status: Status
    events: Sequence[Event]


def look_at(os: Os, folders: Sequence[JobFolder], out: str) -> list[Seen]:
    """What the files of jobs say, in one round trip; a folder without a job is left out."""
    paths = {folder: _files_of(folder) for folder in folders}
    contents = os.read([path for files in paths.values() for path in files], TAIL)
    if cut := [each.document for each in folders if len(contents.get(each.document, (0, b""))[1]) == TAIL]:
        contents = {**contents, **os.read(cut)}
    found = []
    for folder in folders:
        if folder.document not in contents:
            continue
        texts = {path: contents[path][1] for path in paths[folder] if path in contents}
        job = read_job(folder, folder.under(out), texts[folder.document])
        events = read_events(texts.get(folder.events, b""))
        results = {name: texts[path] for name in FILES if (path := f"{folder.results}/{name}") in texts}
        changed = max(contents[path][0] for path in texts)
        errors = texts.get(folder.err, b"")
        status = judge(job.label, job.ids, events, errors, glance(results), changed)
        found.append(Seen(job, status, events))
    return _without_those_before(found)


def _without_those_before(found: Sequence[Seen]) -> list[Seen]:
    """With those cancelled that wait for a debug run which did not succeed: no scheduler runs them."""
    bad = set(OVER) - {"complete"}
    failed = {(seen.job.folder, seen.status.id) for seen in found if seen.status.state in bad}
    return [
        replace(seen, status=replace(seen.status, state="cancelled", said="its debug run did not succeed"))
        if seen.status.state == "submitted" and (seen.job.folder.debug, seen.job.document["after"]) in failed
        else seen
        for seen in found
    ]


def ask_schedulers(
    os: Os, found: Sequence[Seen], silent: float, named: Callable[[str], Scheduler]
) -> list[Status]:
    """The statuses; of jobs that are to run and were `silent` for so many seconds, the scheduler decides.

    One round trip for each scheduler that is asked, none where no job is silent.
    """
    before = time.time() - silent
    quiet = [
        seen
        for seen in found
        if seen.status.state in ("submitted", "running") and (seen.status.changed or 0.0) <= before
    ]
    known = _known(os, [(seen.job, seen.status) for seen in quiet], named)
    asked = {
        seen.job.label
        for seen in quiet
        if known[seen.job.scheduler].get(seen.status.id or "") != NOT_KNOWN_HERE
    }
    return [
        judge_silent(seen.status, known[seen.job.scheduler], seen.events)
        if seen.job.label in asked
        else seen.status
        for seen in found
    ]


def at_work(os: Os, jobs: Sequence[tuple[Job, Status]], named: Callable[[str], Scheduler]) -> set[str]:
    """Which of these jobs, whose files say that they are over, have a script that runs, or is to run again.

    So it is with one that keeps its last epoch after it was cancelled, and with one in whose place another
    runs, and which Slurm itself has put back into the queue.
    """
    begun = [(job, status) for job, status in jobs if status.pid is not None]
    known = _known(os, begun, named)
    words = {status.job: known[job.scheduler].get(status.id or "", "") for job, status in begun}
    return {label for label, word in words.items() if state_of(word) in ("submitted", "running")}


def attempt_of(status: Status) -> Attempt:
    """The last submission of a job."""
    return Attempt(status.id or "", status.pid, status.host)


def _known(
    os: Os, jobs: Sequence[tuple[Job, Status]], named: Callable[[str], Scheduler]
) -> dict[str, dict[str, str]]:
    """By scheduler and id what is said of the last submissions of jobs, each scheduler asked once."""
    attempts: dict[str, list[Attempt]] = {}
    for job, status in jobs:
        attempts.setdefault(job.scheduler, []).append(attempt_of(status))
    return {name: named(name).known(os, each) for name, each in attempts.items()}


def _files_of(folder: JobFolder) -> list[str]:
    own = [folder.document, folder.events, folder.out, folder.err]
    return [*own, *(f"{folder.results}/{name}" for name in FILES)]
