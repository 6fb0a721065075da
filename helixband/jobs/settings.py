"""jobs.toml: what differs from machine to machine, in one file of the user's.

[here]                          # this machine; a section for each host of SshOs by its name
scheduler = "slurm"             # or shell, the default
out = "/scratch/me/out"
python = "/home/me/helixband/bin/python"
setup = "module load cuda"
[here.slurm]
partition = "gpu"
account = "lab"
"""

import dataclasses
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helixband.errors import UsageError, meant
from helixband.files import Shape, misfit
from helixband.jobs.schedulers import Scheduler, Shell
from helixband.jobs.slurm import Slurm

SCHEDULERS: dict[str, type[Scheduler]] = {"shell": Shell, "slurm": Slurm}

_SCRIPT: Shape = {
    "python": str,
    "program": [str],
    "setup": str,
    "requirements": str,
    "stage": str,
    "template": str,
    "fields": {...: str},
}
_MACHINE: Shape = {"scheduler": str, "out": str, "ssh_python": str, **_SCRIPT}
_SLURM: Shape = {
    **dict.fromkeys(("partition", "time", "account", "qos", "memory", "constraint"), str),
    "gpus": (int, str),
    "cpus": int,
    "signal": int,
    "requeue": bool,
    "more": dict,
    **_SCRIPT,
}
OUT = "out"
PATHS = ("out", "python", "ssh_python", "template")


@dataclass(frozen=True)
class Settings:
    """Those of one machine."""

    scheduler: str = "shell"
    out: str = OUT
    ssh_python: str = "python3"
    of_all: Mapping[str, Any] = field(default_factory=dict)
    of_slurm: Mapping[str, Any] = field(default_factory=dict)

    def complete(self, scheduler: Scheduler) -> Scheduler:
        """A scheduler with what this machine has where it leaves that open."""
        own = self.of_slurm if isinstance(scheduler, Slurm) else {}
        return scheduler.completed({**self.of_all, **own})

    def make_scheduler(self) -> Scheduler:
        """The scheduler that jobs.toml names."""
        return self.complete(SCHEDULERS[self.scheduler]())


def settings_file() -> Path:
    """Where jobs.toml is."""
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "helixband" / "jobs.toml"


def read_settings(machine: str) -> Settings:
    """The settings of a machine; the defaults where the file or the section is missing.

    Raises `UsageError` for what the file should not have.
    """
    path = settings_file()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    section = _section_of(path, document, machine)
    section = dict(section)
    slurm = section.pop("slurm", {})
    _check(path, machine, section, _MACHINE)
    _check(path, f"{machine}.slurm", slurm, _SLURM)
    scheduler = section.pop("scheduler", "shell")
    if scheduler not in SCHEDULERS:
        raise UsageError(f"{path}: [{machine}] scheduler = {scheduler!r}; there are {', '.join(SCHEDULERS)}")
    own = {name: section.pop(name) for name in ("out", "ssh_python") if name in section}
    return Settings(scheduler, of_all=section, of_slurm=slurm, **own)


def _section_of(path: Path, document: Mapping[str, Any], machine: str) -> Any:
    """What the file has for a machine; raises `UsageError` for settings that would be of none."""
    for name, value in document.items():
        if not isinstance(value, dict):
            raise UsageError(f"{path}: {name} is {value!r}, and has to be a section: [{name}]")
    inner: Any = document
    for part in machine.split("."):
        inner = inner.get(part) if isinstance(inner, dict) else None
    if "." in machine and machine not in document and inner is not None:
        raise UsageError(f'{path}: [{machine}] is a section within sections: write ["{machine}"]')
    return document.get(machine, {})


def _check(path: Path, name: str, section: Any, shape: Mapping[str, Shape]) -> None:
    if not isinstance(section, dict):
        raise UsageError(f"{path}: {name} is {section!r}, and has to be a section: [{name}]")
    for key in section:
        if key not in shape:
            raise UsageError(f"{path}: [{name}] has {key}, which is no setting; {meant(key, shape)}")
    if told := misfit(section, dict(shape)):
        raise UsageError(f"{path}: [{name}] {told}, which is of another type")
    if wrong := [key for key in PATHS if str(section.get(key, "")).startswith("~")]:
        raise UsageError(
            f"{path}: [{name}] {wrong[0]} = {section[wrong[0]]!r}: nobody reads the ~ there; "
            "write the whole path"
        )


def scheduler_from(text: str) -> Slurm:
    """A Slurm by its settings as a flag has them.

    >>> scheduler_from("partition=gpu,time=1:00:00,cpus=4").cpus
    4

    Raises `UsageError` for a setting that there is not, or a value that cannot be read.
    """
    kinds = {each.name: _SLURM.get(each.name) for each in dataclasses.fields(Slurm)}
    values: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        kind = kinds.get(name)
        if not equals or kind not in (str, int, bool, (int, str)):
            raise UsageError(f"--slurm {part}: give name=value, with a name of {', '.join(sorted(kinds))}")
        if name in values:
            raise UsageError(f"--slurm {part}: {name} is given twice; leave one of them out")
        try:
            values[name] = _READERS[kind](value)
        except (ValueError, KeyError) as error:
            raise UsageError(f"--slurm {part}: {value!r} is no value of {name}") from error
    return Slurm(**values)


_READERS: dict[Shape, Callable[[str], Any]] = {
    str: str,
    int: int,
    bool: lambda text: {"true": True, "false": False}[text],
    (int, str): lambda text: int(text) if text.isdecimal() else text,
}
"""How the text of a setting is read, by its shape."""
