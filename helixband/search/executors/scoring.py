"""The evaluation of the test set in chunks: what a worker makes of one, and how the run puts all together.

What comes of the pieces of the set goes where it goes in one process, in the same order. So the result is the
same, bit for bit, where a piece comes to the same in each process.
"""

import contextlib
import functools
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from base_model import BaseModel
from helixband.errors import HelixbandError
from helixband.generators.base import BatchGenerator
from helixband.randomness import Numbers, equal_states, held, state_of, unmoved
from helixband.search.executors.chunks import Arrays, SpreadOver
from helixband.search.executors.task import Chunk, Task
from helixband.search.executors.trial import Trainer
from helixband.training import judge, snapshot
from helixband.training.carried import Form, Recorder, to_arrays
from helixband.training.feed import labelled, pieces
from helixband.training.holdings import Look, changed, look
from helixband.training.objects import Path
from helixband.training.passes import Evaluated
from helixband.training.portions import Portions, Seeded, first_batches, portions_of, seeded
from helixband.training.state import left_alone
from helixband.training.weighting import split_of


def first_epoch(test: Iterable[Any]) -> Iterable[Any]:
    """The test set in its first epoch."""
    if isinstance(test, BatchGenerator):
        test.set_epoch(0, 0)
    return test


def facts_of(model: BaseModel, portions: Portions) -> dict[str, Any]:
    """What the outcome of an evaluation depends on, besides weights and definition."""
    return {"device": model.device.type, "batch_size": model.args.batch_size, "batches": portions.count}


def in_portions(model: BaseModel, test: Iterable[Any], args: Namespace) -> Iterable[Any]:
    """The set as passes with dropout left on get it: each of several portions has its own random numbers."""
    portions = portions_of(test, model) if args.mc_dropout and not model.batch_limit else None
    return test if portions is None or len(portions.spans()) == 1 else Seeded(portions, args.seed)


class OfTestSet:
    """The model of a task and the test set, in a worker."""

    def __init__(self, trainer: Trainer, task: Task) -> None:
        self._args = trainer.args
        self._model = trainer.trained_model(trainer.results.trial(task.name), task.config)
        test = first_epoch(trainer.definition.test_data(self._args.data))
        portions = portions_of(test, self._model)
        assert portions is not None  # as it is in the run's process
        self._portions = portions

    def facts(self) -> dict[str, Any]:
        """What the outcome depends on, as it is here."""
        return facts_of(self._model, self._portions)

    def arrays(self, chunk: Chunk) -> Arrays:
        """What comes of the pieces of a chunk."""
        first, last = chunk.first, chunk.last
        recorder, model, samples = Recorder(), self._model, self._args.mc_dropout
        if samples:
            batches: Iterable[Any] = seeded(self._portions, first, last, self._args.seed, chunk.sample)
        else:
            batches = self._portions.part(first, last)
        sampling = model.engine.modes.dropout_left_on() if samples else contextlib.nullcontext()
        try:
            with sampling:
                judge.outputs(model, batches, split_of(model), of_part=True, elsewhere=recorder)
        except HelixbandError as error:
            raise type(error)(
                f"{error} (in the {chunk}, from the first of which batches are counted)"
            ) from error
        return to_arrays(recorder.pieces)


@dataclass(frozen=True)
class Elsewhere:
    """Has the pieces of the test set evaluated by workers; an `Evaluator`.

    `task` has a chunk without its place; `spread` does chunks of a task.
    """

    spread: Callable[[Task], SpreadOver]
    task: Task
    portions: Portions
    form: Form
    limit: int | None = None

    def evaluated(
        self, step: Callable[..., Evaluated], pieces: Iterable[Any]
    ) -> Iterator[tuple[Any, Evaluated]]:
        """Each piece without x; `step` and `pieces`, which are those of this process, are not used."""
        sample = next(self._passes)
        assert self.task.chunk is not None
        task = replace(self.task, chunk=replace(self.task.chunk, sample=sample))
        for arrays in self.spread(task)(self.portions.spans(self.limit)):
            for piece in self.form.pieces(arrays):
                yield (None, piece.y, *piece.weight), piece.found

    @functools.cached_property
    def _passes(self) -> Iterator[int]:
        return iter(range(1 << 30))


def form_of(
    model: BaseModel, test: Iterable[Any], portions: Portions, samples: int | None
) -> tuple[Form | None, str]:
    """The form of what comes of a piece; or None, and why the pieces cannot be evaluated apart.

    The first batches are read, and the first piece is evaluated twice, to see whether that changes what the
    set or the model holds, or draws random numbers that the next would miss. All is afterwards as before.
    """
    recorders: list[Recorder] = []
    with left_alone(model):
        if why := _why_read_in_order(model, test):
            return None, why
        piece = _first_piece(model, portions)
    changes, draws = effects_of(model, lambda: recorders.append(_evaluate(model, piece)))
    if changes:
        return None, "its evaluation changes what the model or the definition holds"
    if draws and not samples:
        return None, "its evaluation draws random numbers"
    form = Form(recorders[-1].pieces[0], model.device)
    return (form, "") if form.is_known() else (None, "two parts of what the model gives have one name")


def effects_of(model: BaseModel, compute: Callable[[], Any]) -> tuple[bool, bool]:
    """Whether what a model computes changes what it or the definition holds, and draws random numbers.

    It is computed twice; all is afterwards as before.
    """
    with left_alone(model):
        compute()
        before = model.engine.state.marks(model)
        with unmoved() as numbers:
            compute()
            draws = not numbers.is_now()
        return model.engine.state.marks(model) != before, draws


def _why_read_in_order(model: BaseModel, test: Iterable[Any]) -> str:
    """Why one process has to read the batches of a set, in order; "" where any may read any of them.

    A set that draws random numbers as it is read, or changes from one batch to the next, is told by the first
    two. One of ours that calls no other code is known to do neither.
    """
    split = split_of(model)
    if isinstance(test, BatchGenerator) and test.is_made_alone() and split is None:
        return ""
    seen: list[tuple[Look, dict[Path, Any], Any]] = []
    with snapshot.left_as_it_was(test):
        batches = first_batches(test)  # to begin may draw, as a loader does, for processes that draw
        before = Numbers()
        for number, batch in enumerate(batches):
            if split is not None:
                split(batch, f"batch {number} of the test set")
            now = look({"the test set": test, **held.variables()})
            states = {path: state_of(source) for path, source in now.sources}
            seen.append((now, states, model.engine.state.marks(model)))
        if not before.is_now():
            return "reading the test set draws random numbers"
    if len(seen) < 2:
        return ""
    (first, states, of_model), (second, states_then, of_model_then) = seen
    if (name := changed(first, second)) is not None:
        return f"{name} changes as the test set is read"
    if not equal_states(states, states_then):
        return "the test set holds a random generator from which it draws"
    changes = of_model != of_model_then
    return "split_batch changes what the model or the definition holds" if changes else ""


def _first_piece(model: BaseModel, portions: Portions) -> tuple[Any, ...]:
    batch = next(iter(labelled(portions.part(0, 1), split=split_of(model))))
    return tuple(next(pieces(batch, model.args.batch_size, model.device)))


def _evaluate(model: BaseModel, piece: tuple[Any, ...]) -> Recorder:
    recorder = Recorder()
    judge.outputs(model, [piece], lambda batch, where: batch, of_part=True, alone=True, elsewhere=recorder)
    return recorder
