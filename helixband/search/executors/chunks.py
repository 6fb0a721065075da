"""Chunks of an input or of the test set: how workers get them, and how what they make comes back in order.

A worker writes a chunk to a file of its own, in a folder that this run alone knows. So a worker that was
believed dead disturbs nobody: what it writes is what the other one writes, or goes nowhere.
"""

import io
import json
import secrets
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband import interruption
from helixband.errors import HelixbandError
from helixband.files import make_folder, read_whole, remove_file, remove_folder, write_whole
from helixband.search.executors.local import Executor, WorkerDied
from helixband.search.executors.task import Task

ATTEMPTS = 3
"""A chunk whose worker died is given so many times in all."""

SECONDS_BETWEEN_LOOKS = 1.0

OWN = "chunks-"
"""What the name of the folder of a run's chunks begins with; those of a run that was stopped are removed."""

Arrays = dict[str, NDArray[Any]]
Span = tuple[int, int]


@dataclass(frozen=True)
class SpreadOver:
    """Has the workers of an executor do chunks: calling it gives their arrays, in order.

    `task` has a chunk without its place; `folder` is where the files of chunks lie until they are
    read. Twice as many chunks as there are workers are under way, which bounds the disk that they take.

    Raises `HelixbandError` where workers die of one chunk again and again, or a definition raised.
    """

    executor: Executor
    task: Task
    folder: Path
    say: Callable[[str], None]

    def __call__(self, spans: Iterable[Span]) -> Generator[Arrays]:
        """The arrays of each chunk [first, last)."""
        waiting, under_way = iter(spans), deque[tuple[Task, Future[Any]]]()
        for left_over in self.folder.glob(f"{OWN}*"):
            remove_folder(left_over)
        make_folder(folder := self.folder / f"{OWN}{secrets.token_hex(8)}")
        try:
            while True:
                for span in islice(waiting, 2 * self.executor.capacity - len(under_way)):
                    under_way.append(self._begin(self._task_of(span, folder)))
                if not under_way:
                    break
                yield self._finish(*under_way.popleft())
        finally:
            for _, future in under_way:
                future.cancel()
        remove_folder(folder)

    def _task_of(self, span: Span, folder: Path) -> Task:
        assert self.task.chunk is not None
        first, last = span
        chunk = replace(self.task.chunk, first=first, last=last, target=str(folder / str(first)))
        return replace(self.task, chunk=chunk)

    def _begin(self, task: Task) -> "tuple[Task, Future[Any]]":
        return task, self.executor.submit(task, lambda name, row: None)

    def _finish(self, task: Task, future: "Future[Any]") -> Arrays:
        """The arrays of a chunk, which is given again where its worker is lost."""
        chunk = task.chunk
        assert chunk is not None
        for attempt in range(1, ATTEMPTS + 1):
            while not wait([future], SECONDS_BETWEEN_LOOKS).done:
                interruption.check()
            try:
                future.result()
            except WorkerDied as death:
                if attempt == ATTEMPTS:
                    told = f"the worker died {attempt} times at the {chunk}, at last: {death}"
                    raise HelixbandError(told) from death
                again = "evaluated" if chunk.path is None else "predicted"
                self.say(f"  the worker of the {chunk} was lost ({death}); they are {again} again")
                _, future = self._begin(task)
            else:
                break
        return _take_arrays(Path(chunk.target))


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write the arrays of a chunk, whole or not at all; without syncing, as they are read at once."""
    buffer = io.BytesIO()
    np.savez(buffer, np.array(json.dumps(list(arrays))), *arrays.values())
    write_whole(path, buffer.getvalue(), sync=False)


def _take_arrays(path: Path) -> Arrays:
    """What `write_arrays` has written, which is removed."""
    with np.load(io.BytesIO(read_whole(path)), allow_pickle=False) as stored:
        names = json.loads(str(stored["arr_0"]))
        arrays = {name: stored[f"arr_{number}"] for number, name in enumerate(names, 1)}
    remove_file(path)
    return arrays
