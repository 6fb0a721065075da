"""The folder of a job: the one place that knows the names of files in it.

OUT/<name of the definition's file>/<name of the job>/version_<n>/
  job.json          the command, all values, the digest of the code, the ids that a scheduler gave it
  job.sh            what runs; the same file begins the job and resumes it
  job.events        a line an event: what, a detail, the time (UTC), the id of the submission
  job.out, job.err  what it printed
  code.tar.gz       the folder of the definition, as it was when the job was made
  submission_<k>    who submitted it the k-th time; of two who do so at once, one can
  results/          the result directory
  debug/            with --debug-first: the job that goes before it, a folder like this one
OUT/submissions.jsonl   a line a submission: who sent what where
OUT/arrays/<stamp>/     what a grid was submitted by; a link to the folder of each of its jobs
"""

import posixpath
import re
from dataclasses import dataclass

from helixband.errors import UsageError

SUBMISSIONS, ARRAYS = "submissions.jsonl", "arrays"
VERSION, DEBUG = "version_", "debug"
LONGEST_PART = 240
"""Of a path, in bytes; file systems take 255."""


@dataclass(frozen=True)
class JobFolder:
    """The files of a job, as paths on its machine."""

    path: str

    @property
    def document(self) -> str:
        return f"{self.path}/job.json"

    @property
    def script(self) -> str:
        return f"{self.path}/job.sh"

    @property
    def events(self) -> str:
        return f"{self.path}/job.events"

    @property
    def out(self) -> str:
        return f"{self.path}/job.out"

    @property
    def err(self) -> str:
        return f"{self.path}/job.err"

    @property
    def code(self) -> str:
        return f"{self.path}/code.tar.gz"

    def submission(self, number: int) -> str:
        """The file that one who submits the job has to make first, and that nobody replaces."""
        return f"{self.path}/submission_{number}"

    @property
    def results(self) -> str:
        return f"{self.path}/results"

    @property
    def debug(self) -> "JobFolder":
        """The folder of the job that goes before this one, with --debug-first."""
        return JobFolder(f"{self.path}/{DEBUG}")

    @property
    def is_debug(self) -> bool:
        return posixpath.basename(self.path) == DEBUG

    @property
    def version(self) -> int:
        """Its number; that of a debug folder is its job's."""
        path = posixpath.dirname(self.path) if self.is_debug else self.path
        return int(posixpath.basename(path).removeprefix(VERSION))

    def under(self, out: str) -> str:
        """The path below the folder of all jobs: what the job is called in commands and tables."""
        return posixpath.relpath(self.path, out)


def folder_of(out: str, definition: str, name: str, version: int) -> JobFolder:
    """Where a version of a job is."""
    return JobFolder(posixpath.join(out, definition, name, f"{VERSION}{version}"))


def check_name(name: str) -> str:
    """A job's name, which is a path of folders; raises `UsageError` where it cannot be one."""
    parts = name.split("/")
    wrong = next((part for part in parts if part in ("", ".", "..")), None)
    if wrong is not None:
        raise UsageError(f"the job name {name!r} has the part {wrong!r}: give names with / between them")
    if re.search(r"[\x00-\x1f\x7f]", name):
        raise UsageError(f"the job name {name!r} has a control character, as a line's end is one")
    check_text(name, "the job name")
    if any(part.startswith(VERSION) for part in parts):
        raise UsageError(
            f"the job name {name!r} has a part that begins with {VERSION}, which is for versions"
        )
    if longest := next((part for part in parts if len(part.encode()) > LONGEST_PART), None):
        raise UsageError(f"the job name {longest!r} is longer than {LONGEST_PART} bytes: give a shorter one")
    return name


def check_definition(stem: str) -> str:
    """The name of a definition's file, which is a folder of jobs; `UsageError` where it cannot be one."""
    if stem == ARRAYS or stem.startswith(VERSION):
        raise UsageError(
            f"the definition is called {stem}.py, and {stem} is a folder of other things where jobs are: "
            "give the file another name"
        )
    return check_text(stem, "the name of the definition")


def check_text(text: str, what: str) -> str:
    """A text that is UTF-8; raises `UsageError` for bytes of a command line that are none."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{what} {text!r} has bytes that are not UTF-8: give another one") from error
    return text


def find_argv(out: str) -> list[str]:
    """The program that prints the folders of all jobs, each ended by NUL; it enters none of them."""
    escaped = re.sub(r"[*?\[\\]", r"\\\g<0>", posixpath.join(out, ARRAYS))  # -path takes a pattern
    arrays = ["-path", escaped, "-prune", "-o"]
    return [
        "env",
        "LC_ALL=C",
        "find",
        "-L",
        out,
        *arrays,
        "-type",
        "d",
        "-name",
        f"{VERSION}*",
        "-prune",
        "-print0",
    ]
