"""Who runs a job's script: `Shell`, processes of a machine. `Slurm` is in a file of its own."""

import dataclasses
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import helixband
from helixband.errors import StorageError, UsageError
from helixband.jobs.layout import JobFolder
from helixband.jobs.systems import Done, Os
from helixband.jobs.templates import CODE, QUOTED, SHIPPED, fill

ARCHIVES = (".tar", ".tar.gz", ".tgz")
STAGES = ("link", "copy", "extract")


@dataclass(frozen=True)
class Script:
    """What the script of one job is made of: its command line taken apart, and where it is."""

    folder: JobFolder
    name: str
    argv: Sequence[str]
    data: str


@dataclass(frozen=True)
class Attempt:
    """A submission of a job: the id that it got; once it runs, the process of its script, and the host."""

    id: str
    pid: int | None = None
    host: str | None = None


NOT_KNOWN_HERE = "not known here"
"""What is said of an attempt that this machine can say nothing of."""


@dataclass(frozen=True)
class Scheduler:
    """What all have: what a script needs to know of the machine. None is as jobs.toml or the default says.

    `python`: the Python that runs main.py there (default: this one here, `python3` elsewhere). `program`: the
    words between it and the flags (default: this main.py in a checkout, else -m helixband). `setup`: shell
    code. `requirements`: a file beside the definition; a virtual environment with it is made for each run.
    `stage`: link, copy or extract the data (default: extract archives, link others). `template`: a file.
    `fields`: values for fields that such a template has of its own.
    """

    name: ClassVar[str] = ""
    python: str | None = None
    program: Sequence[str] | None = None
    setup: str | None = None
    requirements: str | None = None
    stage: str | None = None
    template: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)

    def script(self, command: Script) -> str:
        """The script of a job; a pure function of what this and the command have."""
        if self.stage not in (None, *STAGES):
            raise UsageError(f"stage={self.stage!r}: data can be staged by {', '.join(STAGES)}")
        if clash := sorted({*self.fields} & {*CODE, *QUOTED}):
            raise UsageError(f"fields: {clash[0]} is a field of every template: name yours otherwise")
        stage = self.stage or ("extract" if command.data.endswith(ARCHIVES) else "link")
        values: dict[str, str | Sequence[str]] = {
            **{name: str(value) for name, value in self.fields.items()},
            "directives": "\n".join(self.directives(command)) or "#",
            "setup": self.setup or ":",
            "folder": command.folder.path,
            "results": command.folder.results,
            "argv": list(command.argv),
            "program": self.program or default_program(),
            "python": self.python or sys.executable,
            "requirements": self.requirements or "",
            "data": command.data,
            "stage": stage,
            "requeue": "yes" if self.requeues else "no",
        }
        return fill(Path(self.template or SHIPPED), values)

    @property
    def requeues(self) -> bool:
        """Whether a job goes on by itself after its time limit."""
        return False

    def directives(self, command: Script) -> list[str]:
        """Lines for the scheduler."""
        return []

    def submit(
        self, os: Os, chains: Sequence[Sequence[JobFolder]], at_once: int | None, place: str
    ) -> list[list[str]]:
        """Have scripts run; the id of each. Of a chain, each begins once the one before it has succeeded.

        `place`: a folder that need not exist, for files of the submission. Raises `StorageError` with the
        words of the scheduler where it refuses.
        """
        raise NotImplementedError

    def cancel(self, os: Os, attempts: Sequence[Attempt]) -> None:
        """End these, where they run; those that have ended are no error."""
        raise NotImplementedError

    def known(self, os: Os, attempts: Sequence[Attempt]) -> dict[str, str]:
        """id -> what the scheduler says of it, in one word; an id that it does not know is left out.

        `NOT_KNOWN_HERE` where the scheduler is not to be reached from the machine at all.
        """
        raise NotImplementedError

    def completed(self, settings: Mapping[str, object]) -> "Scheduler":
        """This, with settings of a machine where it leaves them open."""
        names = {each.name for each in dataclasses.fields(self)}
        open_ones = {name: value for name, value in settings.items() if name in names}
        open_ones = {name: value for name, value in open_ones.items() if getattr(self, name) in (None, {})}
        return dataclasses.replace(self, **open_ones)  # type: ignore[arg-type]


def default_program() -> list[str]:
    """main.py of a checkout, or the installed package."""
    main = Path(helixband.__file__).absolute().parent.parent / "main.py"
    return [str(main)] if main.is_file() else ["-m", "helixband"]


@dataclass(frozen=True)
class Shell(Scheduler):
    """Processes of the machine, in a session of their own: they survive the notebook and the SSH session.

    A submission has one process that begins its jobs, `at_once` at a time (default: all).
    """

    name = "shell"

    def submit(
        self, os: Os, chains: Sequence[Sequence[JobFolder]], at_once: int | None, place: str
    ) -> list[list[str]]:
        limit = str(at_once or len(chains) or 1)
        lines = [
            " && ".join(_begun(folder, f"{n}.{m}") for m, folder in enumerate(chain)) + _THEN_OTHERS
            for n, chain in enumerate(chains)
        ]
        done = os.run(["bash", "-c", _START, "helixband-jobs", limit], "\0".join(lines).encode())
        driver = check_done(done, "begin the jobs").strip()
        return [[f"{driver}.{n}.{m}" for m, _ in enumerate(chain)] for n, chain in enumerate(chains)]

    def cancel(self, os: Os, attempts: Sequence[Attempt]) -> None:
        known = self.known(os, attempts)
        pids = [
            str(each.pid) for each in attempts if each.pid is not None and known.get(each.id) == "RUNNING"
        ]
        if pids:
            os.run(["kill", "-TERM", *pids])  # one that has just ended is no error
        if elsewhere := {str(each.host) for each in attempts if known.get(each.id) == NOT_KNOWN_HERE}:
            raise UsageError(
                f"some run on {', '.join(sorted(elsewhere))}, and end only if they are cancelled there"
            )

    def known(self, os: Os, attempts: Sequence[Attempt]) -> dict[str, str]:
        wanted = {each.id: str(each.pid or each.id.partition(".")[0]) for each in attempts}
        look = 'uname -n; ps -ww -o pid=,args= -p "$1"'
        done = os.run(["sh", "-c", look, "look", ",".join(sorted(set(wanted.values())))])
        here, *lines = done.out.splitlines()
        alive = dict(line.split(None, 1) for line in lines if len(line.split(None, 1)) == 2)
        found = {}
        for each in attempts:
            if each.host not in (None, here):
                found[each.id] = NOT_KNOWN_HERE
            elif re.search(r"job\.sh|helixband-jobs", alive.get(wanted[each.id], "")):
                found[each.id] = "PENDING" if each.pid is None else "RUNNING"
        return found


_START = """
lines=$(mktemp) && cat > "$lines" || exit 1
began=$(date +%s)
setsid nohup bash -c '
    export HELIXBAND_DRIVER=$$.$3
    xargs -0 -a "$2" -P "$1" -n 1 bash -c < /dev/null
    rm -f "$2"
' helixband-jobs "$1" "$lines" "$began" < /dev/null > /dev/null 2>&1 &
echo $!.$began
"""
"""The driver of a submission: its input are lines of shell, ended by NUL, one a chain of jobs.

Its id has the time too: after a machine, or a container, began anew, another process has the same number.
"""

_THEN_OTHERS = "; true"
"""xargs begins no other line after one that ends with 255, or by a signal."""


def _begun(folder: JobFolder, number: str) -> str:
    """The line of shell that runs a job to its end."""
    out, err = shlex.quote(folder.out), shlex.quote(folder.err)
    return (
        f"HELIXBAND_JOB_ID=$HELIXBAND_DRIVER.{number} bash {shlex.quote(folder.script)} "
        f">> {out} 2>> {err} < /dev/null"
    )


def check_done(done: Done, what: str) -> str:
    """The output of a program; raises `StorageError` with its words where it failed."""
    if done.code != 0:
        raise StorageError(f"cannot {what}: {done.err or done.out or f'exit code {done.code}'}")
    return done.out
