"""Templates of job scripts: shell with fields in braces, filled by `str.format`.

A brace of the shell itself is written twice. Every value is quoted for the shell, but for the fields that are
code: what they hold is run.
"""

import difflib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Formatter

from helixband.errors import StorageError, UsageError, listed

SHIPPED = Path(__file__).with_name("template_job.sh")

CODE = {
    "directives": "lines for the scheduler, such as #SBATCH --time=60",
    "setup": "shell code that prepares the machine, such as module load cuda",
}
QUOTED = {
    "folder": "the folder of the job",
    "results": "its result directory",
    "argv": "the words of the command line, but for --data and --result",
    "program": "the words between the Python and the command line: main.py, or -m helixband",
    "python": "the Python that runs it",
    "requirements": "a requirements.txt beside the definition, for an environment made there, or nothing",
    "data": "the data directory or archive",
    "stage": "how the data come to the node: link, copy or extract",
    "requeue": "yes or no: whether a job that reached its time limit is to go on",
}
NEEDED = ("folder", "argv", "results", "data")


def fill(template: Path, values: Mapping[str, str | Sequence[str]]) -> str:
    """The script; a value is a text, or several words.

    Raises `UsageError` with file and line for a field that nobody declared, a stray brace, no shebang, and a
    needed field that is missing; `StorageError` where the template cannot be read.
    """
    try:
        text = template.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"cannot read the template {template}: {error}") from error
    if not text.startswith("#!"):
        raise UsageError(f"{template}, line 1: a script begins with the program that runs it: #!/bin/bash")
    found: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        found |= _fields(line, f"{template}, line {number}", values)
    if missing := [name for name in NEEDED if name not in found]:
        raise UsageError(
            f"{template} has no field {{{missing[0]}}} ({QUOTED[missing[0]]}), which a job cannot do without"
        )
    filled = {name: value if name in CODE else _quoted(value) for name, value in values.items()}
    return text.format(**filled)


def _fields(line: str, place: str, values: Mapping[str, str | Sequence[str]]) -> set[str]:
    """The fields of one line, checked."""
    try:
        parsed = [(name, form, way) for _, name, form, way in Formatter().parse(line) if name is not None]
    except ValueError as error:
        raise UsageError(
            f"{place}: {line.strip()[:80]!r} has a stray brace ({error}); a brace of the shell is written "
            "twice: {{ and }}"
        ) from error
    for name, form, way in parsed:
        if name not in values:
            near = difflib.get_close_matches(name, values, 1)
            meant = f"did you mean {{{near[0]}}}? " if near else ""
            raise UsageError(
                f"{place}: {{{name}}} is no field; {meant}the fields are {listed(sorted(values), 20)}. A "
                "brace of the shell is written twice: {{ and }}"
            )
        if form or way:
            raise UsageError(f"{place}: write {{{name}}} alone, without a format")
    return {name for name, *_ in parsed}


def _quoted(value: str | Sequence[str]) -> str:
    return shlex.quote(value) if isinstance(value, str) else shlex.join(value)
