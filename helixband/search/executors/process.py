"""The process that trials are trained in, one after another, as it is seen from outside.

It can be killed, its memory is its own, and a definition that fails in it does not disturb other trials. Both
sides talk in lines of JSON: the variables of its place, the `Setup` and then tasks on its standard input;
on a pipe of its own `{"ready": …}`, with the credentials that it has read, once the definition is loaded,
`{"trial": …, "row": …}` after an epoch and at the end `{"outcome": …}`, or `{"error": …}` for what concerns
every trial; `{"warning": …}` at any time.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from helixband import errors
from helixband.env import conceal, is_of_the_place, variables_read
from helixband.results.attempt import Superseded
from helixband.results.directory import Results
from helixband.search.executors.spawned import Spawned, StartFailed, root
from helixband.search.executors.task import Chunk, Outcome, Report, Task

if TYPE_CHECKING:
    from helixband.search.executors.trial import Trainer

SECONDS_TO_END = 10.0
"""How long a process that was asked to end has for it, before it is killed."""

SECONDS_BETWEEN_LOOKS = 0.2
"""A process that has ended is told by its pipe; by looking, where one that it forked holds the pipe open."""

SECONDS_BETWEEN_PRINTS = 0.005
"""What is printed is taken in lots, as each line would cost the writing of a file."""


class WorkerDied(Exception):
    """The process of a trial ended without an outcome; the message tells how, and what it printed last."""


class KilledAtStart(WorkerDied):
    """It was ended by a signal before it could take a trial, so that no trial is to blame."""


@dataclass(frozen=True)
class Setup:
    """What a process needs to train trials of a definition: all of it JSON.

    `arguments` are those of the command line, `environment` the variables that the definition has read by
    `env` (None: not set), without credentials and what tells the place of a process, `directory` the one that
    the run was started in, `root` the one that Helixband is imported from. With several `slots` the process
    trains as many trials together.
    """

    arguments: dict[str, Any]
    result: str
    definition: str
    digest: str
    environment: dict[str, str | None]
    directory: str
    root: str
    slots: int = 1

    @classmethod
    def of(cls, trainer: "Trainer", directory: str, slots: int = 1) -> "Setup":
        """That of a run whose definition is loaded."""
        return cls(
            arguments=vars(trainer.args),
            result=str(trainer.results.path),
            definition=trainer.definition.given,
            digest=trainer.definition.digest,
            environment={
                name: os.environ.get(name) for name in variables_read() if not is_of_the_place(name)
            },
            directory=directory,
            root=root(),
            slots=slots,
        )


class TrialProcess:
    """A process of its own for the trials of a `Setup`; it comes up while the caller goes on.

    `environment` is added to that of this process: its GPU and its threads. `early` is a process that comes
    up already, to be this one.
    """

    def __init__(self, setup: Setup, environment: dict[str, str], early: Spawned | None = None) -> None:
        self._results = Results(setup.result)
        self._spawned = early or Spawned(setup.root, setup.directory, environment)
        self._process, self._printed = self._spawned.process, self._spawned.printed
        self._received = b""
        self._closed = self._ready = False
        self._spawned.place(environment)
        changed = self._spawned.changes(environment)
        self._spawned.tell(asdict(setup) | {"environment": {**changed, **setup.environment}})

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    @property
    def takes_tasks(self) -> bool:
        """Whether it can be given a task: it runs, or has ended before it was ready, and is to tell why."""
        return not self._closed and (self.alive or not self._ready)

    def run(self, task: Task, on_epoch: Report) -> Outcome:
        """Train a trial there; `on_epoch` gets each epoch, in this thread.

        Raises `WorkerDied` where the process ended, or another took the trial over; a `HelixbandError` that
        was raised there and concerns the whole run, `StartFailed` where the process could not start.
        """
        trial = self._results.trial(task.name)
        try:
            if task.attempt is not None:
                trial.join_attempt(task.attempt)
            self._printed.expect(trial if task.chunk is None else None)
            told = self._follow(task, on_epoch)
        except Superseded as over:
            raise WorkerDied(str(over)) from over
        except BaseException:  # nobody listens to the trial any more
            self.close()
            raise
        if told is None:
            self.close()
            raise self.death([task.name], task.chunk)
        if "superseded" in told:
            raise WorkerDied(told["superseded"])
        if "error" in told:
            if not self._ready:
                self.close()
            raise getattr(errors, told["error"]["type"])(told["error"]["message"])
        return Outcome(**told["outcome"])

    def give(self, task: Task) -> None:
        """Give a task to a process that trains several together; `said` tells of them, by their names.

        Raises `WorkerDied` where another took the trial over.
        """
        trial = self._results.trial(task.name)
        try:
            if task.attempt is not None:
                trial.join_attempt(task.attempt)
        except Superseded as over:
            raise WorkerDied(str(over)) from over
        self._printed.attend(trial)
        self._spawned.tell(asdict(task))

    def said(self) -> Iterator[dict[str, Any]]:
        """What a process says that trains several trials together, until it has ended."""
        for message in self._messages():
            if "ready" in message:
                self._begin(message["ready"])
                continue
            if "outcome" in message:
                self._printed.take()
                self._printed.forget(message["trial"])
            yield message
        self._printed.take(ended=True)

    def death(self, names: Iterable[str], chunk: Chunk | None = None) -> WorkerDied | StartFailed:
        """How it ended, which had the trials of these names, if any, with what it printed last.

        With a `chunk`, it trained none of them, but predicted or evaluated.
        """
        *several, last = sorted(names) or ["none"]
        tail = self._printed.tail() or ("" if self._ready else self._spawned.printed_before())
        words = f"; it had printed:\n{tail}" if tail else ""
        if self._ready:
            whose = f"trials {', '.join(several)} and {last}" if several else f"trial {last}"
            whose = whose if chunk is None else f"the {chunk.work}"
            return WorkerDied(f"the process of {whose} {self._end()}{words}")
        told = f"a worker process {self._end()} before it was ready{words}"
        return KilledAtStart(told) if self._was_killed else StartFailed(told)

    def _follow(self, task: Task, on_epoch: Report) -> dict[str, Any] | None:
        """Give the task, and pass on its epochs; what it came to, or None where the process ended."""
        self._spawned.tell(asdict(task))
        for message in self._messages():
            if "ready" in message:
                self._begin(message["ready"])
            elif "row" in message:
                on_epoch(message["trial"], message["row"])
            else:
                self._printed.take()
                return message
        self._printed.take(ended=True)
        return None

    def terminate(self) -> None:
        """Ask it to end; a trial under way writes its last finished epoch first."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once, and what it has forked."""
        self._spawned.kill()

    def close(self, seconds: float = SECONDS_TO_END) -> None:
        """Have it end, by force after so many seconds, and free what it took; once."""
        if self._closed:
            return
        self._closed = True
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self._spawned.close()

    def _messages(self) -> Iterator[dict[str, Any]]:
        """What it says, until it has ended."""
        answers, pipes = self._spawned.answers, select.poll()
        for pipe in (answers, self._printed.source):
            pipes.register(pipe, select.POLLIN)
        while True:
            while b"\n" in self._received:
                line, self._received = self._received.split(b"\n", 1)
                message = json.loads(line)
                if "warning" in message:
                    warnings.warn(message["warning"], errors.HelixbandWarning, stacklevel=2)
                else:
                    yield message
            ended = not self.alive  # before the last look at the pipes, so that nothing is missed
            ready = dict(pipes.poll(0 if ended else SECONDS_BETWEEN_LOOKS * 1000))
            if answers in ready:
                received = os.read(answers, 1 << 16)
                if not received:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self._process.wait(SECONDS_TO_END)
                    return
                self._received += received
            elif ended:
                return
            elif ready:
                time.sleep(SECONDS_BETWEEN_PRINTS)
                self._printed.take()

    def _begin(self, credentials: dict[str, str]) -> None:
        self._ready = True
        conceal(credentials)

    @property
    def _was_killed(self) -> bool:
        """Whether a signal ended it; that of SIGTERM is an exit code where it was handled."""
        return self._code < 0 or self._code == 128 + signal.SIGTERM

    @property
    def _code(self) -> int:
        """That with which it has ended."""
        code = self._process.returncode
        assert code is not None
        return code

    def _end(self) -> str:
        code = self._code
        if code >= 0:
            return f"ended with exit code {code}"
        name = signal.Signals(-code).name
        return f"was ended by {name}" + (" (memory may have run out)" if name == "SIGKILL" else "")
