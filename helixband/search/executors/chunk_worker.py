"""What a worker makes of the chunks that it is given."""

import json
from pathlib import Path

from helixband.errors import DataError
from helixband.files import exists
from helixband.search.executors.chunks import write_arrays
from helixband.search.executors.scoring import OfTestSet
from helixband.search.executors.task import Chunk, Task
from helixband.search.executors.trial import Trainer
from helixband.search.executors.windows import OfInput

ADVICE = {"device": "give --cpu, or use machines with the same kind of device"}


class ChunkWorker:
    """Does chunks in a worker; the model and the data of the latest are kept."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._known: tuple[str, str | None] | None = None
        self._work: OfInput | OfTestSet

    def carry_out(self, task: Task, chunk: Chunk) -> None:
        """Write the arrays of a chunk to its file, unless the run has ended meanwhile."""
        if self._known != (task.name, chunk.path):
            self._work = self._load(task, chunk)
            self._known = (task.name, chunk.path)
        arrays = self._work.arrays(chunk)
        if exists(Path(chunk.target).parent):
            write_arrays(Path(chunk.target), arrays)

    def _load(self, task: Task, chunk: Chunk) -> OfInput | OfTestSet:
        work: OfInput | OfTestSet
        if chunk.path is None:
            work, what = OfTestSet(self._trainer, task), "the test set"
        else:
            work, what = OfInput(self._trainer, task, chunk.path), chunk.path
        facts = json.loads(json.dumps(work.facts()))
        for name, expected in chunk.facts.items():
            if facts[name] != expected:
                raise DataError(
                    f"a worker has another {name} than the run for {what}: {facts[name]}, and not "
                    f"{expected}; {ADVICE.get(name, 'leave --workers and --cluster out')}"
                )
        return work
