"""Inside the process that trials are trained in: this module run with `-m`, as `spawned.py` does it.

What belongs to the protocol is moved away before the definition is loaded: whatever it reads, prints or forks
meets an empty standard input and a pipe. The process ends, its last finished epoch written, on SIGTERM and
when its parent is gone.
"""

import contextlib
import faulthandler
import gc
import json
import os
import queue
import select
import signal
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helixband import importing

with importing():
    import torch

    from base_model import choose_device
    from helixband import errors, interruption
    from helixband.definition import load_definition
    from helixband.env import credentials
    from helixband.errors import DefinitionError, HelixbandError
    from helixband.randomness import choose_algorithms
    from helixband.results.attempt import Superseded
    from helixband.results.directory import Results
    from helixband.search.executors.chunk_worker import ChunkWorker
    from helixband.search.executors.companions import Companions
    from helixband.search.executors.forks import end, serve
    from helixband.search.executors.process import Setup
    from helixband.search.executors.task import Chunk, DeviceLost, Outcome, Task
    from helixband.search.executors.trial import Trainer
    from helixband.training.start import Start

if TYPE_CHECKING:
    from helixband.search.executors.together import Together

SECONDS_BETWEEN_LOOKS = 1.0
"""A parent that is gone is told by its pipe; by looking, where what it has forked holds the pipe open."""

SECONDS_ALONE = 5.0
"""How long a process goes on without its parent, where the definition does not let it end."""


class Parent:
    """The process that gives the tasks, on the one pipe, and is told of them, on the other."""

    def __init__(self, tasks: int, answers: int) -> None:
        self._tasks = tasks
        self._answers = open(answers, "wb")
        self._documents: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._process, self._parent = os.getpid(), os.getppid()
        threading.Thread(target=self._listen, daemon=True).start()

    def next(self, seconds: float | None = None) -> dict[str, Any] | None:
        """The next document that the parent sends; None where none comes in so many seconds.

        A signal ends the wait.
        """
        interruption.check()
        try:
            return self._documents.get(timeout=seconds)
        except queue.Empty:
            return None

    def document(self) -> dict[str, Any]:
        """The next document, whenever it comes."""
        found = self.next()
        assert found is not None
        return found

    def send(self, **message: Any) -> None:
        """Tell the parent; a fork of this process, that a definition lets run on, ends here."""
        if os.getpid() != self._process:
            os._exit(1)
        try:
            self._answers.write(json.dumps(message).encode() + b"\n")
            self._answers.flush()
        except BrokenPipeError:
            raise KeyboardInterrupt(signal.SIGTERM) from None

    def _listen(self) -> None:
        """In a thread of its own: take in what the parent sends, and end the process when it is gone."""
        # No buffered file: it would hold a lock as it waits, which forks would inherit.
        received = b""
        tasks = select.poll()
        tasks.register(self._tasks, select.POLLIN)
        while os.getppid() == self._parent:
            if tasks.poll(SECONDS_BETWEEN_LOOKS * 1000):
                more = os.read(self._tasks, 1 << 16)
                if not more:
                    break
                *lines, received = (received + more).split(b"\n")
                for line in lines:
                    self._documents.put(json.loads(line))
        os.kill(self._process, signal.SIGTERM)
        time.sleep(SECONDS_ALONE)
        os._exit(1)  # the definition does not return from a call, or does not let itself be interrupted


def main(words: list[str], pipes: list[int]) -> int:
    """Load what the parent names, then train what it gives until it is gone; the exit code.

    `words` are the mark of what a trial prints; `pipes` those of answers and, to be held, of what is printed.
    """
    errors.let_output_pass()
    tasks = os.dup(0)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    answers, mark = pipes[0], f"{words[0]}\n".encode()
    # What is printed is not read here: with its other end open, no line is an error once the parent is gone.
    for pipe in pipes:
        os.set_inheritable(pipe, False)
    faulthandler.enable(all_threads=False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interruption.install()
    interruption.take_one()
    try:
        parent = Parent(tasks, answers)
        os.environ.update(parent.document())  # of its place: before anything can ask which GPUs there are
        with errors.warnings_passed(lambda text: parent.send(warning=text)):
            return _work(parent, mark)
    except KeyboardInterrupt:
        return 128 + signal.SIGTERM


def _work(parent: Parent, mark: bytes) -> int:
    """Do what the parent gives; the exit code."""
    try:
        setup = Setup(**parent.document())
        trainer = load(setup)
        together = _packed(trainer, parent, setup.slots) if setup.slots > 1 else None
        gc.freeze()  # modules and the definition's data stay, and are not looked through for garbage
    except HelixbandError as error:
        parent.send(error=_described(error))
        return error.exit_code
    parent.send(ready=credentials())  # of files as well that the definition has read
    if together is not None:
        return _train_together(trainer, together, parent, mark)
    chunks = ChunkWorker(trainer)
    while True:
        task = Task.of(parent.document())
        if task.chunk is None:
            if _train(trainer, task, parent, mark):
                return 1
        else:
            _predict(trainer, chunks, task, task.chunk, parent, mark)


def load(setup: Setup) -> Trainer:
    """What trains the trials of a run, as it does in the run's own process.

    Raises `DefinitionError` where the definition is another than that of the run by now.
    """
    for name, text in setup.environment.items():
        if text is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = text
    if "OMP_NUM_THREADS" in os.environ:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    args = Namespace(**setup.arguments)
    if choose_device(args.cpu).type == "cuda":
        choose_algorithms(setup.arguments.get("nondeterministic", False))
    definition = load_definition(setup.definition, args.seed)
    if definition.digest != setup.digest:
        raise DefinitionError(
            f"{setup.definition} was changed while the search runs; put back what it was, "
            f"which is kept in {Path(setup.result) / 'def.py'}"
        )
    results = Results(setup.result)
    return Trainer(definition, results, args, Start.stored(results), Companions())


def _train(trainer: Trainer, task: Task, parent: Parent, mark: bytes) -> bool:
    """Train a trial; whether the process is of no use for another one, as its device is lost."""
    try:
        trial = trainer.trial_of(task)
        with _marked(mark):
            outcome = trainer.carry_out(task, trial, lambda name, row: parent.send(trial=name, row=row))
        parent.send(outcome=asdict(outcome))
        if outcome.has_lost_device:
            return True
    except Superseded as superseded:
        parent.send(superseded=str(superseded))
    except HelixbandError as error:
        parent.send(error=_described(trainer.definition.explain(error)))
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()  # for the trials of other processes on this GPU
    return False


def _predict(
    trainer: Trainer, chunks: ChunkWorker, task: Task, chunk: Chunk, parent: Parent, mark: bytes
) -> None:
    try:
        with _marked(mark):
            chunks.carry_out(task, chunk)
    except (Exception, SystemExit) as error:
        explained = trainer.definition.explain(error)
        if not isinstance(explained, HelixbandError):
            raise
        parent.send(error=_described(explained))
    else:
        parent.send(outcome=asdict(Outcome(0.0, 0)))


def _packed(trainer: Trainer, parent: Parent, slots: int) -> "Together":
    from helixband.search.executors.together import Together  # as a pack alone needs its stepper

    return Together(trainer, parent, slots)


def _train_together(trainer: Trainer, together: "Together", parent: Parent, mark: bytes) -> int:
    """Train the tasks together until something that concerns them all ends the process; the exit code."""
    try:
        with _marked(mark):
            together.work()
    except Superseded:
        return 0  # without a word: its trials go on elsewhere
    except DeviceLost as lost:
        print(lost, file=sys.stderr)
        return 1
    except HelixbandError as error:
        parent.send(error=_described(trainer.definition.explain(error)))
        return error.exit_code
    return 0


def _described(error: BaseException) -> dict[str, str]:
    """An error by the nearest of its classes that the parent knows."""
    kind = next(cls.__name__ for cls in type(error).__mro__ if cls.__module__ == errors.__name__)
    return {"type": kind, "message": str(error)}


@contextlib.contextmanager
def _marked(mark: bytes) -> Iterator[None]:
    """Mark in what is printed where a trial begins and ends."""
    with contextlib.suppress(OSError):  # a definition may have closed its standard output
        os.write(1, mark)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.write(1, mark)


if __name__ == "__main__":
    given = sys.argv[1:]
    if len(given) == 1:
        serve(int(given[0]), main)
    end(main(given[:1], [int(pipe) for pipe in given[1:]]))
