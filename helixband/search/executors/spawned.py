"""An interpreter on its way to be a process of trials: it imports what that needs, and waits to be told more.

It needs no definition, so it can begin to come up before there is one, and can be ended at any time.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import helixband
from helixband.env import without_credentials
from helixband.errors import HelixbandError
from helixband.search.executors.forks import Forks, Own, Process
from helixband.search.executors.printed import Printed


class StartFailed(HelixbandError):
    """A process ended by itself before it could take a trial, as any other one would."""


def root() -> str:
    """The folder that Helixband is imported from."""
    return str(Path(helixband.__file__).resolve().parent.parent)


def environment_with(root: str, added: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that imports Helixband from `root`: this one's, and what is added."""
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **added}


class Spawned:
    """A process in a folder, which imports Helixband from `root`; `environment` is added to that of this one.

    It has a session of its own, so that Ctrl-C in a terminal is for this process to answer; it ends by itself
    when this one does. It is to be told the rest of its environment (`place`), then what it trains.
    `answers` is the end of the pipe on which it talks. With `forks` it is one of those.
    """

    def __init__(
        self, root: str, directory: str, environment: Mapping[str, str], forks: Forks | None = None
    ) -> None:
        self.printed = Printed()
        self.answers, answers = os.pipe()
        tasks, given = os.pipe()
        self._tasks = open(given, "wb")
        self._root, self._forks = root, forks
        self._has = environment_with(root, environment)
        self._is_placed = self._killed = False
        # -P: the folder that the run was started in is not to be imported from.
        command = [sys.executable, "-P", "-u", "-m", "helixband.search.executors.worker"]
        words, pipes = [self.printed.mark.decode().strip()], [answers, self.printed.source]
        self.process: Process
        try:
            if forks is not None:
                files = [tasks, self.printed.target, *pipes]
                self.process = forks.start(command, directory, self._has, words, files)
            else:
                self.process = Own(
                    [*command, *words, *map(str, pipes)],
                    stdin=tasks,
                    stdout=self.printed.target,
                    stderr=subprocess.STDOUT,
                    pass_fds=pipes,
                    env=self._has,
                    cwd=directory,
                    start_new_session=True,
                )
        except OSError as error:
            self._tasks.close()
            os.close(self.answers)
            self.printed.close()
            raise StartFailed(f"cannot start {sys.executable} in {directory}: {error}") from error
        finally:
            for end in (tasks, answers, self.printed.target):
                os.close(end)

    def place(self, environment: Mapping[str, str]) -> None:
        """Give it the variables of its place, as its GPU, once: it imports what may look at them."""
        if not self._is_placed:
            self._is_placed = True
            changed = {name: text for name, text in environment.items() if self._has.get(name) != text}
            self._has.update(changed)
            self.tell(changed)

    def changes(self, environment: Mapping[str, str]) -> dict[str, str | None]:
        """What it lacks of the environment that a process would be started with now (None: not set)."""
        wanted = environment_with(self._root, environment)
        names = self._has.keys() | wanted.keys()
        return {name: wanted.get(name) for name in names if self._has.get(name) != wanted.get(name)}

    def printed_before(self) -> str:
        """The last of what was printed before the process was there, without credentials."""
        return "" if self._forks is None else without_credentials(self._forks.printed())

    def tell(self, document: Mapping[str, Any]) -> None:
        """Send it something."""
        with contextlib.suppress(BrokenPipeError):  # it has ended, which its answers tell with the reason
            self._tasks.write(json.dumps(document).encode() + b"\n")
            self._tasks.flush()

    def kill(self) -> None:
        """End it at once, and what it has forked; once, as its number may be another's later."""
        if self._killed:
            return
        self.process.kill_all()
        self._killed = True

    def close(self) -> None:
        """End it, and free what it took; once."""
        self.kill()
        with contextlib.suppress(BrokenPipeError):
            self._tasks.close()
        os.close(self.answers)
        self.printed.close()
        self.process.close()
