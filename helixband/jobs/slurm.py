"""Slurm: jobs by sbatch, a grid as one array."""

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from helixband.errors import StorageError, UsageError
from helixband.jobs.layout import JobFolder
from helixband.jobs.schedulers import NOT_KNOWN_HERE, Attempt, Scheduler, Script, check_done
from helixband.jobs.systems import Os

LATEST_SIGNAL = 60
"""Slurm looks once a minute; it may send a signal so many seconds earlier."""

OF_OURS = ("array", "dependency", "kill-on-invalid-dep", "parsable", "wrap", "requeue", "no-requeue")
"""Options of sbatch that jobs give or rely on, besides those of a script."""

LARGEST_ARRAY = 1000
"""Tasks of an array; Slurm's own default for the largest index (MaxArraySize - 1)."""


@dataclass(frozen=True)
class Slurm(Scheduler):
    """Jobs of a Slurm cluster. What is None is left to Slurm.

    `time`: as Slurm has it, such as 1-12:00:00; `cpus`, `gpus`: of a job; `memory`: such as 16G; `more`:
    other options of sbatch by their long names, such as {"mail-type": "END"}, True for one without a value.
    `signal`: so many seconds before the limit a run is ended as by SIGTERM, so that its last epoch is kept
    (Slurm may signal a minute earlier). `requeue`: whether the job then goes on by itself, in a new place.
    """

    name = "slurm"
    partition: str | None = None
    time: str | None = None
    account: str | None = None
    qos: str | None = None
    cpus: int | None = None
    gpus: int | str | None = None
    memory: str | None = None
    constraint: str | None = None
    more: Mapping[str, str | int | bool] = field(default_factory=dict)
    signal: int = 120
    requeue: bool = True

    @property
    def requeues(self) -> bool:
        return self.requeue

    def directives(self, command: Script) -> list[str]:
        options: dict[str, object] = {
            "job-name": command.name,
            "chdir": _checked(command.folder.path),
            "output": posixpath.basename(command.folder.out),
            "error": posixpath.basename(command.folder.err),
            "open-mode": "append",
            "requeue" if self.requeue else "no-requeue": True,
            "signal": f"B:USR1@{self.signal}",
            "partition": self.partition,
            "time": self.time,
            "account": self.account,
            "qos": self.qos,
            "cpus-per-task": self.cpus,
            "gpus": self.gpus,
            "mem": self.memory,
            "constraint": self.constraint,
        }
        limit = _seconds(self.time or "")
        if limit is not None and limit <= self.signal + LATEST_SIGNAL:
            raise UsageError(
                f"time={self.time}: a run is ended {self.signal} s before the limit, or up to "
                f"{LATEST_SIGNAL} s earlier; it would never get anywhere: give more time, or a smaller signal"
            )
        more = {name.removeprefix("--"): value for name, value in self.more.items()}
        if own := sorted({*more} & {*options, *OF_OURS}):
            raise UsageError(
                f"more: {own[0]} is set by jobs themselves, or by a setting of its own: leave it out"
            )
        options |= more
        return [_directive(name, value) for name, value in options.items() if value not in (None, False)]

    def submit(
        self, os: Os, chains: Sequence[Sequence[JobFolder]], at_once: int | None, place: str
    ) -> list[list[str]]:
        found: dict[int, list[str]] = {}
        for length in sorted({len(chain) for chain in chains}):
            numbers = [number for number, chain in enumerate(chains) if len(chain) == length]
            if len(numbers) == 1 and at_once is None:
                found[numbers[0]] = self._submit_chain(os, chains[numbers[0]])
                continue
            for first in range(0, len(numbers), LARGEST_ARRAY):
                part = numbers[first : first + LARGEST_ARRAY]
                folder = f"{place}/{length}-{first // LARGEST_ARRAY}"
                ids = self._submit_arrays(os, [chains[number] for number in part], at_once, folder)
                found |= dict(zip(part, ids, strict=True))
        return [found[number] for number in range(len(chains))]

    def _submit_chain(self, os: Os, chain: Sequence[JobFolder]) -> list[str]:
        ids: list[str] = []
        for folder in chain:
            ids.append(self._sbatch(os, _after("afterok", ids), folder.script, ids))
        return ids

    def _submit_arrays(
        self, os: Os, chains: Sequence[Sequence[JobFolder]], at_once: int | None, place: str
    ) -> list[list[str]]:
        """An array for the first job of each chain, one for the second, and so on."""
        numbers, ids = range(1, len(chains) + 1), list[str]()
        for step in range(len(chains[0])):
            folder = f"{place}/{step}"
            linked = "".join(f"{chain[step].path}\0" for chain in chains).encode()
            made = os.run(["bash", "-c", _MAKE_ARRAY, "array", folder, chains[0][step].script], linked)
            check_done(made, f"make the array {folder}")
            limit = f"%{at_once}" if at_once else ""
            words = [f"--chdir={folder}", f"--array=1-{len(chains)}{limit}", *_after("aftercorr", ids)]
            ids.append(self._sbatch(os, words, f"{folder}/array.sh", ids))
        return [[f"{id}_{number}" for id in ids] for number in numbers]

    def _sbatch(self, os: Os, words: list[str], script: str, before: Sequence[str]) -> str:
        """The id of a new job; where it is refused, those of its chain are cancelled."""
        done = os.run(["sbatch", "--parsable", *words, script])
        if done.code == 0:
            return done.out.strip().partition(";")[0]
        if before:
            os.run(["scancel", *before])
        if done.code == 127:
            where = "this machine" if os.is_here else os.name
            raise UsageError(
                f"there is no sbatch on {where}: submit from a login node of the cluster, as "
                f"SshOs(…) or --host, or without Slurm, as Shell() or --shell. The script is kept: {script}"
            )
        raise StorageError(f"Slurm refuses the job: {done.err or done.out}\nThe script is kept: {script}")

    def cancel(self, os: Os, attempts: Sequence[Attempt]) -> None:
        done = os.run(["scancel", "--quiet", *(attempt.id for attempt in attempts)])
        if done.code != 0 and not re.search("Invalid job id|already complet", done.err):
            check_done(done, "cancel the jobs")

    def known(self, os: Os, attempts: Sequence[Attempt]) -> dict[str, str]:
        done = os.run(["squeue", "--noheader", "--me", "--array", "--states=all", "--format=%i|%T"])
        if done.code == 127:
            return {each.id: NOT_KNOWN_HERE for each in attempts}
        words = dict(line.split("|", 1) for line in check_done(done, "ask Slurm").splitlines() if "|" in line)
        return {each.id: words[each.id] for each in attempts if each.id in words}


_MAKE_ARRAY = r"""
mkdir -p "$1" && cd "$1" || exit 1
number=0
while IFS= read -r -d '' folder; do
    number=$((number + 1))
    ln -sn "$folder" $number || exit 1
done
{
    echo '#!/bin/bash'
    grep '^#SBATCH' "$2" | grep -v -e --job-name= -e --chdir= -e --output= -e --error=
    echo '#SBATCH --job-name=helixband_array'
    echo '#SBATCH --output=%a/job.out'
    echo '#SBATCH --error=%a/job.err'
    echo 'exec bash "$SLURM_ARRAY_TASK_ID/job.sh"'
} > array.sh
"""
"""Makes what an array is: a link by number to the folder of each task, and the script that goes there."""


def _after(kind: str, ids: Sequence[str]) -> list[str]:
    return [f"--dependency={kind}:{ids[-1]}", "--kill-on-invalid-dep=yes"] if ids else []


def _seconds(time: str) -> int | None:
    """A time limit as Slurm has it; None for what is no number, such as UNLIMITED.

    >>> [_seconds(time) for time in ("5", "5:30", "2:00:00", "1-2", "1-2:30", "infinite")]
    [300, 330, 7200, 93600, 95400, None]
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time)
    if found is None:
        return None
    days, *parts = found.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is None and len(numbers) < 3:
        numbers.insert(0, 0)  # minutes come first
    hours, minutes, seconds = (*numbers, 0, 0)[:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def _checked(path: str) -> str:
    """A folder; raises `UsageError` for what Slurm would replace in the paths of the files there."""
    if found := re.search(r"[%\\]", path):
        raise UsageError(
            f"{path} has a {found[0]}, which Slurm reads as a pattern: give another --name or --out"
        )
    return path


def _directive(name: str, value: object) -> str:
    """A line of the script; raises `UsageError` for what would end the line, or end the options."""
    text = f"{name}" if value is True else f"{name}={value}"
    if re.search(r"[\x00-\x1f\x7f]", text) or not re.fullmatch(r"[a-z][a-z-]*", name):
        raise UsageError(f"{name}={value!r} is no option for sbatch: it has a character that is not allowed")
    escaped = re.sub(r"[\\\"']", r"\\\g<0>", text)
    plain = re.fullmatch(r"[\w./=:%@,+-]*", text)
    return f"#SBATCH --{text}" if plain else f'#SBATCH "--{escaped}"'
