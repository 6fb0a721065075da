"""What runs within a Dask worker: it keeps one trial process there, and passes on what that tells.

It is sent by value, so that a Dask worker needs no Helixband of its own: this module refers to nothing of
Helixband until the project's root is on the worker's path.
"""

# mypy: allow-untyped-calls

import asyncio
import dataclasses
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distributed import Worker, WorkerPlugin, get_worker

GRACE = 15.0
"""Seconds that a trial process has to write its last finished epoch after SIGTERM."""

IDLE = 300.0
"""Seconds without a task after which a trial process ends: who would give it one may be gone."""

SHARE = "HELIXBAND_SHARE"
"""Environment variable of a Dask worker that is the i-th of n on its machine: `i/n`."""

Document = dict[str, Any]


class TrialPlugin(WorkerPlugin):
    """The trial process of a Dask worker.

    `setup` is a `Setup` as a document; `topic` is that of the events that tell of epochs, `[key, row]`. The
    file `sign` is seen, with the topic in it, where the file system is shared.
    """

    def __init__(self, setup: Document, topic: str, sign: str) -> None:
        self.document, self.topic, self.sign = setup, topic, sign

    def setup(self, worker: Worker) -> None:
        """On the worker, before the first task; what cannot be sent is made here."""
        self.worker = worker
        self.process: Any = None
        self.key = ""
        self.cancelled: set[str] = set()
        self.closed = False
        self.turn = threading.Lock()
        self.ending = threading.Lock()
        self.timer = threading.Timer(0, lambda: None)

    async def teardown(self, worker: Worker) -> None:
        """The worker closes, or the run does."""
        self.closed = True
        await asyncio.to_thread(self.stop)

    def transition(self, key: Any, start: Any, finish: Any, **more: Any) -> None:
        """A task that is cancelled as it runs takes its trial process with it."""
        if start == "executing" and finish == "released":
            self.cancelled.add(key)
            if key == self.key:
                threading.Thread(target=self.stop, daemon=True).start()

    def run(self, key: str, task: Document) -> Document:
        """Train as `task` says.

        The result has `outcome`; or `died`, how the process ended, and whether that was `at_start`; or
        `error`, the type and message of a `HelixbandError`.
        """
        with self.turn:  # a task that was cancelled may still be ending
            self.timer.cancel()
            if self.closed or key in self.cancelled:
                return {"died": "the task was cancelled", "at_start": False}
            self.key = key
            try:
                return self._train(key, task)
            finally:
                self.key = ""
                self.timer = threading.Timer(IDLE, self.stop)
                self.timer.daemon = True
                self.timer.start()

    def _train(self, key: str, task: Document) -> Document:
        if self.document["root"] not in sys.path:
            sys.path.insert(0, self.document["root"])
        from helixband.errors import HelixbandError, warnings_passed
        from helixband.search.executors.process import (
            KilledAtStart,
            Setup,
            TrialProcess,
            WorkerDied,
        )
        from helixband.search.executors.spawned import StartFailed
        from helixband.search.executors.task import Task

        try:
            if fault := self._unseen():
                return {"error": {"type": "HelixbandError", "message": fault}}
            if self.process is None or not self.process.alive:
                self.process = TrialProcess(Setup(**self.document), _environment(self.worker))
            passed: list[str] = []
            with warnings_passed(passed.append):
                outcome = self.process.run(
                    Task.of(task), lambda name, row: self.worker.log_event(self.topic, [key, name, row])
                )
        except WorkerDied as error:
            died = f"{error} (on {socket.gethostname()})"
            return {"died": died, "at_start": isinstance(error, KilledAtStart)}
        except StartFailed as error:
            told = f"on {socket.gethostname()}: {error}"
            return {"error": {"type": "HelixbandError", "message": told}}
        except HelixbandError as error:
            return {"error": {"type": type(error).__name__, "message": str(error)}}
        except OSError as error:
            return {"error": {"type": "StorageError", "message": f"{error} (on {socket.gethostname()})"}}
        return {"outcome": dataclasses.asdict(outcome), "warnings": passed}

    def _unseen(self) -> str:
        """What this machine does not see of the run's files, or nothing."""
        sign, definition = Path(self.sign), Path(self.document["definition"])
        if not sign.is_file() or sign.read_text() != self.topic:
            what = f"the result directory {sign.parent}"
        elif not definition.is_file():
            what = f"the definition {definition}"
        else:
            return ""
        return (
            f"the Dask worker on {socket.gethostname()} does not see {what}; "
            "it has to be on a file system that all machines share, by the same path"
        )

    def stop(self) -> None:
        """End the trial process, its last finished epoch written."""
        self.timer.cancel()
        with self.ending:  # who comes second, as a run closes after a cancelled task, waits for the first
            process, self.process = self.process, None
            if process is None:
                return
            process.terminate()
            until = time.monotonic() + GRACE
            while process.alive and time.monotonic() < until:
                time.sleep(0.05)
            process.kill()
        with self.turn:  # who reads from it has noticed
            process.close()


def trial_task(plugin: str) -> Callable[[str, Document], Document]:
    """The function of a Dask task, which has the plugin of that name on its worker run a trial."""

    def run_trial(key: str, task: Document) -> Any:
        mine: Any = get_worker().plugins[plugin]
        return mine.run(key, task)

    return run_trial


def _environment(worker: Worker) -> dict[str, str]:
    """The threads and the GPU of a trial: all that its Dask worker has.

    Dask itself allows libraries one thread, as it would run many tasks in a worker.
    """
    from helixband.search.executors.local import THREAD_VARIABLES, fair_threads

    index, workers = map(int, os.environ.get(SHARE, "0/1").split("/"))
    threads = fair_threads(worker.state.nthreads, workers)
    environment = {name: str(threads) for name in THREAD_VARIABLES}
    gpus = _gpus() if workers > 1 else []
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
    return environment


def _gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, errors="replace", timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(number) for number, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU")]
