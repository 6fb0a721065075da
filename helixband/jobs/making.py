"""Makes the folders of jobs: a version that nobody else has, the script, the code."""

import contextlib
import getpass
import os as system
import posixpath
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from helixband import __version__
from helixband.errors import UsageError
from helixband.jobs.code import Code, pack_code
from helixband.jobs.command import Command
from helixband.jobs.job import Job, read_job
from helixband.jobs.layout import VERSION, JobFolder, folder_of
from helixband.jobs.schedulers import Scheduler, Script
from helixband.jobs.status import now
from helixband.jobs.systems import Os


class Codes:
    """The code of definitions, packed once each; with it a file of `requirements` beside the definition."""

    def __init__(self, requirements: str | None = None) -> None:
        self._also = [requirements] if requirements else []
        self._known: dict[tuple[Path, tuple[str, ...], Path], Code] = {}

    def of(self, command: Command) -> Code:
        """The code of a command, as it was when this was asked first."""
        flags = command.flags
        also = [*flags.shipped().values(), *flags.configurations(), *self._also]
        key = flags.model.absolute(), tuple(sorted(also)), flags.folder
        if key not in self._known:
            self._known[key] = pack_code(*key)
        return self._known[key]


class Plan:
    """A job that is to be made. `base`: the folder on its machine that relative paths are from."""

    def __init__(self, command: Command, code: Code, base: str) -> None:
        self.command, self.code, self._base = command, code, base
        self.flags = command.flags

    def folder(self, out: str, version: int) -> JobFolder:
        """Where a version of the job is, below `out`."""
        return folder_of(out, self.flags.model.stem, self.command.name, version)

    def script(self, folder: JobFolder) -> Script:
        """What the script is made of."""
        name = f"{self.command.name}_{VERSION}{folder.version}"
        data = posixpath.join(self._base, self.flags.data)
        return Script(folder, name, self.flags.words(self._base, folder.version - 1), data)

    def is_job(self, job: Job) -> bool:
        """Whether a version of the job is there: of the same words, data and code."""
        script = self.script(job.folder)
        return job.is_of(list(script.argv), script.data, self.code.digest)

    def job(self, folder: JobFolder, out: str, scheduler: str) -> Job:
        """The job of a version."""
        script, seed = self.script(folder), self.flags.seed
        document: dict[str, Any] = {
            "helixband": __version__,
            "name": self.command.name,
            "version": folder.version,
            "argv": self.command.words,
            "words": list(script.argv),
            "seed": folder.version - 1 if seed is None else seed,
            "values": dict(self.command.values),
            "definition": self.flags.model.stem,
            "data": script.data,
            "code": self.code.facts(),
            "created": now(),
            "by": who(),
            "token": secrets.token_hex(8),
            "scheduler": scheduler,
            "ids": [],
            "after": None,
            "out": "job.out",
            "err": "job.err",
        }
        return Job(folder, folder.under(out), document)


def make_jobs(
    os: Os, scheduler: Scheduler, plans: Sequence[Plan], out: str, there: Iterable[JobFolder]
) -> list[Job]:
    """A new version for each plan, below the folder `out`, an absolute path; `there`: the versions before.

    A version is taken by its job.json, which replaces none: of two who make the same at once, each gets one.
    """
    for plan in plans:  # a script that cannot be made takes no version
        scheduler.script(plan.script(plan.folder(out, 1)))
    highest: dict[str, int] = {}
    for folder in there:
        parent = posixpath.dirname(folder.path)
        highest[parent] = max(highest.get(parent, 0), folder.version)
    made: dict[int, Job] = {}
    while waiting := [number for number in range(len(plans)) if number not in made]:
        wanted: dict[int, Job] = {}
        for number in waiting:
            parent = posixpath.dirname(plans[number].folder(out, 1).path)
            highest[parent] = highest.get(parent, 0) + 1
            wanted[number] = plans[number].job(
                plans[number].folder(out, highest[parent]), out, scheduler.name
            )
        taken = set(
            os.write({each.folder.document: each.dumped() for each in wanted.values()}, exclusive=True)
        )
        made |= {number: job for number, job in wanted.items() if job.folder.document not in taken}
    jobs = [made[number] for number in range(len(plans))]
    files: dict[str, bytes] = {}
    for plan, job in zip(plans, jobs, strict=True):
        files[job.folder.script] = scheduler.script(plan.script(job.folder)).encode()
        files[job.folder.code] = plan.code.archive
    try:
        os.write(files)
    except BaseException:  # a job without its script, as of a full disk, is none
        os.run(["xargs", "-0", "rm", "-rf", "--"], "".join(f"{job.folder.path}\0" for job in jobs).encode())
        raise
    return jobs


def make_debug(os: Os, scheduler: Scheduler, job: Job) -> Job:
    """The job that goes before another: the same with --debug; made, or there already."""
    folder, document = job.folder.debug, job.document
    argv = [*document["argv"], "--debug"]
    debug = Job(folder, f"{job.label}/debug", {**document, "argv": argv, "ids": []})
    if there := os.read([folder.document]):
        found = read_job(folder, debug.label, there[folder.document][1])
        make_scripts(os, scheduler, [found])
        return found
    code = os.read([job.folder.code])[job.folder.code][1]
    content = {folder.script: scheduler.script(script_of(debug)).encode(), folder.code: code}
    os.write({**content, folder.document: debug.dumped()})
    return debug


@contextlib.contextmanager
def claimed(os: Os, jobs: Sequence[Job]) -> Iterator[None]:
    """For the time in which jobs are submitted: nobody else submits them then, nor by what was known before.

    Raises `UsageError` where somebody does, and submits none.
    """
    files = {job.folder.submission(len(job.ids) + 1): job.label for job in jobs}
    own = f"{who()} {now()} {secrets.token_hex(4)}\n".encode()
    taken = os.write(dict.fromkeys(files, own), exclusive=True)
    try:
        if taken:
            raise UsageError(
                f"{files[taken[0]]} is submitted by somebody else just now: look at its status. If that was "
                f"cut off, remove {taken[0]}"
            )
        yield
    except BaseException:
        mine = sorted({*files} - {*taken})
        os.run(["xargs", "-0", "rm", "-f", "--"], "".join(f"{path}\0" for path in mine).encode())
        raise


def make_scripts(os: Os, scheduler: Scheduler, jobs: Sequence[Job]) -> None:
    """Make the scripts of jobs anew, as a scheduler has its settings now; the code stays."""
    os.write({job.folder.script: scheduler.script(script_of(job)).encode() for job in jobs})


def script_of(job: Job) -> Script:
    """What the script of a job is made of."""
    document, folder = job.document, job.folder
    name = f"{document['name']}_{VERSION}{document['version']}"
    if folder.is_debug:
        return Script(folder, f"{name}_debug", [*document["words"], "--debug"], document["data"])
    return Script(folder, name, document["words"], document["data"])


def who() -> str:
    """The user and the machine that this runs on."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        user = str(system.getuid())
    return f"{user}@{system.uname().nodename}"
