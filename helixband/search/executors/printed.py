"""What the process of trials prints, on its way to the files of trials: no credential comes to the disk.

The process writes to a pipe, with a mark where a trial begins and where it ends. Whoever reads it, outside
the process, puts names in the place of credentials, and keeps the last words of a process that dies.
"""

import contextlib
import os
import secrets

from helixband.env import LONGEST_LINE, without_credentials
from helixband.files import append
from helixband.results.attempt import Superseded
from helixband.results.directory import Trial

PIPE_BYTES = 1 << 20
"""A pipe holds no more, unless an administrator allows it."""

TAIL = 4000
"""So many characters of what was printed an account of an end has."""


class Printed:
    """The pipe: its ends `source` and `target`, and the `mark` that the process writes to it."""

    def __init__(self) -> None:
        self.source, self.target = os.pipe()
        os.set_blocking(self.source, False)
        self.mark = f"{secrets.token_hex(16)}\n".encode()
        self._trials: dict[str, Trial] = {}
        self._held = b""  # of a line that has not ended
        self._inside = False
        self._before = self._within = ""

    def expect(self, trial: Trial | None) -> None:
        """Take what is printed between the next two marks for that of a trial; with None, for nobody's."""
        self.take()
        self._trials, self._within = {trial.id: trial} if trial else {}, ""

    def attend(self, trial: Trial) -> None:
        """Take what is printed for that trial as well: what trials print together belongs to each."""
        self._trials = {**self._trials, trial.id: trial}

    def forget(self, name: str) -> None:
        """Take it no more for that trial."""
        self._trials = {other: trial for other, trial in self._trials.items() if other != name}

    def take(self, ended: bool = False) -> None:
        """Keep the lines that are there; with `ended`, the last one too, which may lack its end.

        Raises `StorageError` where they cannot be written.
        """
        # No more at once than the pipe holds: a child of the process may print without an end.
        with contextlib.suppress(BlockingIOError):
            self._held += os.read(self.source, PIPE_BYTES)
        self._pass_on()
        if ended:
            self._keep(self._held)
            self._held = b""

    def tail(self) -> str:
        """The last lines, without credentials: of the trial, or else from before it."""
        return (self._within or self._before).strip()

    def close(self) -> None:
        """Free the end that is read."""
        os.close(self.source)

    def _pass_on(self) -> None:
        *parts, line = self._held.split(self.mark)
        for part in parts:
            self._keep(part)
            self._inside = not self._inside
        end = max(line.rfind(b"\n"), line.rfind(b"\r")) + 1
        self._keep(line[:end])
        self._held = line[end:]
        if len(self._held) > 2 * LONGEST_LINE:  # not the end of it: a value may go on with what is to come
            cleaned = _cleaned(self._held)
            self._keep(cleaned[:-LONGEST_LINE])
            self._held = cleaned[-LONGEST_LINE:]

    def _keep(self, content: bytes) -> None:
        if not content:
            return
        kept = _cleaned(content)
        shown = kept.decode(errors="replace")
        if not self._inside:
            self._before = (self._before + shown)[-TAIL:]
            return
        self._within = (self._within + shown)[-TAIL:]
        for trial in self._trials.values():
            with contextlib.suppress(Superseded), trial.writing():
                append(trial.output_file, kept, sync=False)


def _cleaned(content: bytes) -> bytes:
    text = without_credentials(content.decode(errors="surrogateescape"))
    return text.encode(errors="surrogateescape")
