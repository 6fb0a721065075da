"""Predictions on windows, chunk by chunk: what a worker makes of a chunk, and how all come back in order.

A worker writes a chunk to a file of its own, in a folder that this run alone knows. So a worker that was
believed dead disturbs nobody: what it writes is what the other one writes, or goes nowhere.
"""

import io
import json
import secrets
from argparse import Namespace
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
from helixband.definition import Definition
from helixband.errors import DataError, HelixbandError
from helixband.files import exists, make_folder, read_whole, remove_file, remove_folder, write_whole
from helixband.generators.sequences import SequenceBatchGenerator
from helixband.outputs.windows import Span, WindowPredictor
from helixband.search.executors.local import Executor, WorkerDied
from helixband.search.executors.task import Chunk, Task
from helixband.search.executors.trial import Trainer

ATTEMPTS = 3
"""A chunk whose worker died is given so many times in all."""

SECONDS_BETWEEN_LOOKS = 1.0

OWN = "chunks-"
"""What the name of the folder of a run's chunks begins with; those of a run that was stopped are removed."""

Arrays = dict[str, NDArray[Any]]


def windows_like_training(definition: Definition, args: Namespace, path: str) -> SequenceBatchGenerator:
    """The windows of an input, in the form of the training examples."""
    trained_on = definition.sequence_training_data(args.data, args.batch_size)
    return trained_on.for_prediction(path, args.stride, "number" if args.names == "number" else None)


def has_own_generator(definition: Definition) -> bool:
    """Whether the definition says how an input is read."""
    return definition.function("get_pred_generator") is not None


class ChunkWorker:
    """Predicts on chunks in a worker; the model and the windows of the latest input are kept."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._known: tuple[str, str] | None = None
        self._predictor: WindowPredictor

    def carry_out(self, task: Task, chunk: Chunk) -> None:
        """Write the arrays of a chunk to its file, unless the run has ended meanwhile."""
        if self._known != (task.name, chunk.path):
            self._predictor = self._load(task, chunk)
            self._known = (task.name, chunk.path)
        arrays = self._predictor.predict(chunk.first, chunk.last)
        if exists(Path(chunk.target).parent):
            write_arrays(Path(chunk.target), arrays)

    def _load(self, task: Task, chunk: Chunk) -> WindowPredictor:
        trainer, args = self._trainer, self._trainer.args
        model = trainer.trained_model(trainer.results.trial(task.name), task.config)
        if has_own_generator(trainer.definition):
            data = trainer.definition.prediction_data(chunk.path)
        else:
            data = windows_like_training(trainer.definition, args, chunk.path)
        assert isinstance(data, SequenceBatchGenerator)  # as it is in the run's process
        predictor = WindowPredictor(model, data, args.both_strands, args.mc_dropout, args.seed)
        facts = json.loads(json.dumps(predictor.facts()))
        for name, expected in chunk.facts.items():
            if facts[name] != expected:
                raise DataError(
                    f"a worker has another {name} than the run for {chunk.path}: {facts[name]}, and not "
                    f"{expected}; {ADVICE.get(name, 'predict without --workers and --cluster')}"
                )
        return predictor


ADVICE = {"device": "give --cpu, or use machines with the same kind of device"}


@dataclass(frozen=True)
class SpreadOver:
    """Predicts on chunks by the workers of an executor: calling it gives their arrays, in order.

    `task` has a chunk without a place in the input; `folder` is where the files of chunks lie until they are
    read. Twice as many chunks as there are workers are under way, which bounds the disk that they take.

    Raises `HelixbandError` where workers die of one chunk again and again, or a definition raised.
    """

    executor: Executor
    task: Task
    folder: Path
    say: Callable[[str], None]

    def __call__(self, spans: Iterable[Span]) -> Generator[Arrays]:
        """The arrays of the windows [first, last) of each chunk."""
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
                what = f"windows {chunk.first:,} to {chunk.last:,} of {chunk.path}"
                if attempt == ATTEMPTS:
                    told = f"the worker died {attempt} times at the {what}, at last: {death}"
                    raise HelixbandError(told) from death
                self.say(f"  the worker of the {what} was lost ({death}); they are predicted again")
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
