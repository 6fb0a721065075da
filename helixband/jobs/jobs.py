"""Jobs of a machine: made, submitted, watched, resumed, brought home."""

import fnmatch
import json
import posixpath
import secrets
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from helixband.errors import UsageError, counted, listed
from helixband.jobs.collecting import collected
from helixband.jobs.command import Command
from helixband.jobs.job import Job, read_job
from helixband.jobs.layout import ARRAYS, SUBMISSIONS, VERSION, JobFolder, check_text, find_argv
from helixband.jobs.looking import ask_schedulers, at_work, attempt_of, look_at
from helixband.jobs.making import Codes, Plan, claimed, make_debug, make_jobs, make_scripts, who
from helixband.jobs.schedulers import Scheduler, check_done
from helixband.jobs.settings import SCHEDULERS, read_settings
from helixband.jobs.status import GOES_ON, OVER, SILENT_SECONDS, Status, Table, now
from helixband.jobs.systems import LocalOs, Os, make_folder


class Jobs:
    """The jobs in the folder `out` of a machine.

    What `scheduler` and `out` leave open is as jobs.toml has it for the machine; without it, jobs are
    processes of the machine (`Shell`), and `out` is the folder out.
    """

    def __init__(
        self, out: str | None = None, os: Os | None = None, scheduler: Scheduler | None = None
    ) -> None:
        self.os: Os = LocalOs() if os is None else os
        self._settings = read_settings(self.os.name)
        self.out = check_text(posixpath.normpath(str(out or self._settings.out)), "the folder of jobs")
        self._chosen = scheduler is not None
        given = self._settings.make_scheduler() if scheduler is None else scheduler
        self.scheduler = self._settings.complete(given)
        if not self.os.is_here:
            elsewhere = {"python": "python3", "program": ["-m", "helixband"]}
            self.scheduler = self.scheduler.completed(elsewhere)

    # Making

    def create(self, commands: Command | Iterable[Command], replicates: int = 1) -> list[Job]:
        """Make a new version of the job of each command, or as many as `replicates` says; run nothing.

        Version n runs with `--seed n-1`, unless the command has a seed.
        """
        _check_number("replicates", replicates)
        given = _as_list(commands)
        if made := [each for each in given if isinstance(each, Job)]:
            raise UsageError(f"{made[0].label} is made already: give a Command, or submit the job")
        return self._create(
            [each for each in given for _ in range(replicates)],
            Codes(self.scheduler.requirements),
        )

    def script(self, command: Command) -> str:
        """The script that the first version of a command would have; nothing is written."""
        plan = Plan(command, Codes(self.scheduler.requirements).of(command), self._base())
        return self.scheduler.script(plan.script(plan.folder(self._out(), 1)))

    def _create(self, commands: Sequence[Command], codes: Codes) -> list[Job]:
        plans = [Plan(command, codes.of(command), self._base()) for command in commands]
        return make_jobs(self.os, self.scheduler, plans, self._out(), self._find_folders())

    # Submitting

    def submit(
        self,
        what: Command | Job | Iterable[Command | Job],
        replicates: int = 1,
        at_once: int | None = None,
        debug_first: bool = False,
        wait: float = 2.0,
    ) -> Table:
        """Have jobs run, `at_once` at a time, those of a grid as one array; their status, some seconds later.

        A command whose job is there, of the same code, gets no new one: what is complete or at work is left,
        and what failed is resumed in its folder. With `debug_first`, a run with `--debug` goes before each
        new job, which follows once that has succeeded.
        """
        _check_number("replicates", replicates)
        _check_number("at_once", at_once)
        given = _as_list(what)
        codes = Codes(self.scheduler.requirements)
        commands = [each for each in given if isinstance(each, Command)]
        found = self._matching(commands, replicates, codes)
        old = [job for jobs in found for job in jobs]
        goes_on = {job.label for job in self._ended(old)[0]}
        short = [replicates - len(jobs) for jobs in found]
        lacking = [each for each, n in zip(commands, short, strict=True) for _ in range(n)]
        new = self._that_can_go_on([each for each in given if isinstance(each, Job)])
        resumed = [job for job in old if job.label in goes_on]
        self._make_scripts([*resumed, *(new if self._chosen else [])])
        new += self._create(lacking, codes)
        self._submit([*resumed, *new], at_once, {job.label for job in new} if debug_first else set())
        return self._soon([*old, *new], wait)

    def resume(self, names: str | Iterable[str], at_once: int | None = None, wait: float = 2.0) -> Table:
        """Submit jobs again that ended before they were complete: each goes on in its folder.

        With a scheduler that `Jobs` was given, it goes on by the settings that this has; else by its own.

        Raises `UsageError` where none has; others are left as they are.
        """
        _check_number("at_once", at_once)
        found = self._named(names)
        jobs = self._that_can_go_on([job for job in found if not job.folder.is_debug] or found)
        self._make_scripts(jobs if self._chosen else [])
        self._submit(jobs, at_once, set())
        return self._soon(jobs, wait)

    def _that_can_go_on(self, jobs: Sequence[Job]) -> list[Job]:
        """Those neither complete nor at work; raises `UsageError` where there are jobs, and none of these."""
        going, statuses, ending = self._ended(jobs)
        if jobs and not going:
            first = statuses[jobs[0].label]
            if first.job in ending:
                raise UsageError(f"{first.job} is {first.state}, and still at work: wait until that is over")
            raise UsageError(f"{first.job} is {first.state}: there is nothing to resume")
        return going

    def _ended(self, jobs: Sequence[Job]) -> tuple[list[Job], dict[str, Status], set[str]]:
        """(those neither complete nor at work, the status of all, which of them are still ending)."""
        statuses = {status.job: status for status in self._statuses(jobs)}
        over = [job for job in jobs if statuses[job.label].state in GOES_ON]
        ending = at_work(self.os, [(job, statuses[job.label]) for job in over], self._scheduler_named)
        return [job for job in over if job.label not in ending], statuses, ending

    def _soon(self, jobs: Sequence[Job], wait: float) -> Table:
        """The status after some seconds, or once all are over: so what fails at once is seen."""
        until = time.monotonic() + wait
        folders = [each for job in jobs for each in (job.folder, job.folder.debug)]
        while True:
            table = Table(self._statuses_of(folders, SILENT_SECONDS))
            if time.monotonic() >= until or all(status.state in OVER for status in table):
                return table
            time.sleep(0.2)

    def _make_scripts(self, jobs: Sequence[Job]) -> None:
        make_scripts(self.os, self.scheduler, [self._from_root(job) for job in jobs])

    def _from_root(self, job: Job) -> Job:
        """The job with the whole path of its folder, for what is read elsewhere: scripts and links."""
        folder = JobFolder(posixpath.join(self._base(), job.folder.path))
        return Job(folder, job.label, job.document)

    def _submit(self, jobs: Sequence[Job], at_once: int | None, debug_first: Collection[str]) -> None:
        if not jobs:
            return
        chains = [
            [*([make_debug(self.os, self.scheduler, job)] if job.label in debug_first else []), job]
            for job in map(self._from_root, jobs)
        ]
        place = posixpath.join(
            self._out(), ARRAYS, f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        )
        folders = [[job.folder for job in chain] for chain in chains]
        with claimed(self.os, [chain[-1] for chain in chains]):
            ids = self.scheduler.submit(self.os, folders, at_once, place)
        submitted = [
            job.submitted(self.scheduler.name, id, before)
            for chain, own in zip(chains, ids, strict=True)
            for job, id, before in zip(chain, own, [None, *own[:-1]], strict=True)
        ]
        self.os.write({job.folder.document: job.dumped() for job in submitted})
        self._log_submission(submitted)

    def _log_submission(self, jobs: Sequence[Job]) -> None:
        line = {
            "time": now(),
            "by": who(),
            "machine": self.os.name,
            "scheduler": self.scheduler.name,
            "jobs": {job.label: job.ids[-1] for job in jobs},
        }
        append = ["sh", "-c", 'cat >> "$1"', "append", posixpath.join(self._out(), SUBMISSIONS)]
        check_done(self.os.run(append, (json.dumps(line) + "\n").encode()), "log the submission")

    def _matching(self, commands: Sequence[Command], replicates: int, codes: Codes) -> list[list[Job]]:
        """For each command the jobs that there are of it, of the same code, by version."""
        if not commands:
            return []
        by_place: dict[tuple[str, str], list[Job]] = {}
        for job in self.find():
            if not job.folder.is_debug:
                by_place.setdefault((job.document["definition"], job.document["name"]), []).append(job)
        found, used = [], set[str]()
        for command in commands:
            plan = Plan(command, codes.of(command), self._base())
            same = [
                job
                for job in by_place.get((command.flags.model.stem, command.name), [])
                if plan.is_job(job) and job.label not in used
            ]
            found.append(same[:replicates])
            used |= {job.label for job in found[-1]}
        return found

    # Looking

    def find(self, names: str | Iterable[str] = ()) -> list[Job]:
        """The jobs of these names: folders below `out`, with all that is in them, or patterns as x/*/y.

        Without a name all. Raises `UsageError` for a name that no job has.
        """
        folders = self._find_folders()
        folders = [each for folder in folders for each in (folder, folder.debug)]
        wanted = [names] if isinstance(names, str) else list(names)
        if wanted:
            folders = [each for each in folders if self._fits(each, wanted)]
        contents = self.os.read([folder.document for folder in folders])
        jobs = [
            read_job(folder, folder.under(self.out), contents[folder.document][1])
            for folder in folders
            if folder.document in contents
        ]
        for name in wanted:
            if not any(self._fits(job.folder, [name]) for job in jobs):
                raise UsageError(f"{self._told_place()} has no job {name!r}; {self._told_jobs()}")
        return jobs

    def _named(self, names: str | Iterable[str]) -> list[Job]:
        """As `find`; raises `UsageError` without a name, as an empty list does not stand for all."""
        wanted = [names] if isinstance(names, str) else list(names)
        if not wanted:
            raise UsageError("this needs the names of jobs; status shows them. '*' is all")
        return self.find(wanted)

    def status(self, names: str | Iterable[str] = (), silent: float = SILENT_SECONDS) -> Table:
        """What became of jobs, from their files; of those that are `silent` for so many seconds, the
        scheduler is asked."""
        wanted = [names] if isinstance(names, str) else list(names)
        folders = [each for folder in self._find_folders() for each in (folder, folder.debug)]
        if wanted:
            folders = [each for each in folders if self._fits(each, wanted)]
            if not folders:
                raise UsageError(f"{self._told_place()} has no job {wanted[0]!r}; {self._told_jobs()}")
        return Table(self._statuses_of(folders, silent))

    def log(self, names: str | Iterable[str] = (), lines: int = 40) -> str:
        """The end of what jobs printed, and of their errors."""
        _check_number("lines", lines)
        parts = []
        for job in self.find(names):
            files = job.folder.out, job.folder.err
            found = {path: each for path, each in self.os.read(files, 1 << 18).items() if each[1].strip()}
            parts += [] if found else [f"{job.label} has printed nothing yet"]
            for path in files:
                text = found[path][1].decode(errors="replace").splitlines()[-lines:] if path in found else []
                if text:
                    parts.append("\n".join([f"== {job.label}/{posixpath.basename(path)}", *text]))
        return "\n".join(parts)

    # Ending and bringing home

    def cancel(self, names: str | Iterable[str]) -> Table:
        """End jobs that wait or run; their results stay, and they can be resumed."""
        jobs = self._named(names)
        statuses = {each.job: each for each in self._statuses(jobs)}
        going = [job for job in jobs if statuses[job.label].state in ("submitted", "running")]
        if not going:
            raise UsageError(f"none of {counted(len(jobs), 'job')} waits or runs: there is nothing to cancel")
        # Before the scheduler is told, so that a job that is about to begin sees it.
        lines = [f"{job.folder.path}\0cancel user {now()} {statuses[job.label].id}\0" for job in going]
        check_done(self.os.run(["bash", "-c", _APPEND], "".join(lines).encode()), "cancel the jobs")
        for name in sorted({job.scheduler for job in going}):
            own = [job for job in going if job.scheduler == name]
            attempts = [attempt_of(statuses[job.label]) for job in own]
            self._scheduler_named(name).cancel(self.os, attempts)
        return Table(self._statuses(going))

    def fetch(self, names: str | Iterable[str], to: str | Path = "fetched") -> list[Path]:
        """Copy the folders of jobs to this machine, below a folder; where they are now."""
        target = []
        for job in self._named(names):
            if not job.folder.is_debug:  # it is in the folder of its job
                target.append(Path(to) / job.label)
                make_folder(target[-1])
                self.os.copy(job.folder.path, target[-1])
        return target

    def collect(self, names: str | Iterable[str] = ()) -> str:
        """A table (TSV) of hyperparameters and results, a line a job: what it lacks is an empty cell."""
        jobs = [job for job in self.find(names) if not job.folder.is_debug]
        return collected(self.os, jobs, self._statuses(jobs))

    def collect_predictions(
        self, name: str, names: str | Iterable[str] = (), to: str | Path = "."
    ) -> list[Path]:
        """Put together what jobs predicted on the input `name`, each on --chromosomes of its own.

        The files are those of one run, byte for byte.

        Raises `UsageError` where the jobs are on another machine, and as `merge_predictions` does.
        """
        from helixband.outputs.merging import merge_predictions  # imports NumPy

        if not self.os.is_here:
            raise UsageError(f"the predictions are on {self.os.name}: fetch the jobs, and collect from there")
        jobs = [job for job in self.find(names) if not job.folder.is_debug]
        return merge_predictions([Path(job.folder.results) for job in jobs], name, Path(to))

    # Within

    def _statuses(self, jobs: Sequence[Job]) -> list[Status]:
        """As it is now, whatever a scheduler has to be asked."""
        if not jobs:
            return []
        statuses = self._statuses_of([job.folder for job in jobs], silent=0.0)
        lost = {status.job for status in statuses if status.state == "lost"}
        folders = [job.folder for job in jobs if job.label in lost]
        # One may have ended between the look at its files and the answer of its scheduler.
        again = {seen.status.job: seen.status for seen in look_at(self.os, folders, self.out)} if lost else {}
        ended = {label: status for label, status in again.items() if status.state in OVER}
        return [ended.get(status.job, status) for status in statuses]

    def _statuses_of(self, folders: Sequence[JobFolder], silent: float) -> list[Status]:
        """In one round trip, and one more for each scheduler that is asked."""
        found = look_at(self.os, folders, self.out)
        return ask_schedulers(self.os, found, silent, self._scheduler_named)

    def _scheduler_named(self, name: str) -> Scheduler:
        if name == self.scheduler.name:
            return self.scheduler
        if name not in SCHEDULERS:
            raise UsageError(f"a job was submitted to {name!r}: give Jobs that scheduler")
        return SCHEDULERS[name]()

    def _find_folders(self) -> list[JobFolder]:
        done = self.os.run(find_argv(self.out))
        if done.code != 0 and "No such file" not in done.err:  # as one is that is removed meanwhile
            check_done(done, f"look for jobs in {self.out}")
        found = [JobFolder(path) for path in done.out.split("\0") if path]
        numbered = [each for each in found if each.path.rpartition(VERSION)[2].isdecimal()]
        return sorted(numbered, key=lambda each: (posixpath.dirname(each.path), each.version))

    def _base(self) -> str:
        """The folder on the machine that relative paths are from."""
        if not hasattr(self, "_known_base"):
            self._known_base = check_done(self.os.run(["pwd"]), "look where commands run").rstrip("\n")
        return self._known_base

    def _out(self) -> str:
        """The folder of all jobs, from the root."""
        return posixpath.join(self._base(), self.out)

    def _fits(self, folder: JobFolder, names: Sequence[str]) -> bool:
        label = folder.under(self.out)
        places = [label, label.partition("/")[2]]  # with the name of the definition, or without
        parts = [name.rstrip("/").removeprefix(f"{self.out}/") for name in names]
        return any(
            place == part or place.startswith(f"{part}/") or fnmatch.fnmatchcase(place, part)
            for place in places
            for part in parts
        )

    def _told_place(self) -> str:
        return self.out if self.os.is_here else f"{self.os.name}:{self.out}"

    def _told_jobs(self) -> str:
        names = [folder.under(self.out) for folder in self._find_folders()]
        return f"there are {listed(names, 5)}" if names else "there are none at all"


_APPEND = r"""
while IFS= read -r -d '' folder && IFS= read -r -d '' line; do
    [ ! -d "$folder" ] || printf '%s\n' "$line" >> "$folder/job.events" || exit 1
done
"""


def _check_number(name: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise UsageError(f"{name.replace('_', '-')} is {value}: give a number from 1 on")


def _as_list(what: Any) -> list[Any]:
    found = [what] if isinstance(what, Command | Job) else list(what)
    if wrong := [each for each in found if not isinstance(each, Command | Job)]:
        raise UsageError(f"{wrong[0]!r} is no job: give a Command, or a Job that create or find gave")
    return found
