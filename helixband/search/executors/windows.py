"""Predictions on the windows of an input: how it is read, and what a worker makes of a chunk."""

from argparse import Namespace
from typing import Any

from helixband.definition import Definition
from helixband.generators.sequences import SequenceBatchGenerator
from helixband.outputs.windows import WindowPredictor
from helixband.search.executors.chunks import Arrays
from helixband.search.executors.task import Chunk, Task
from helixband.search.executors.trial import Trainer


def windows_like_training(definition: Definition, args: Namespace, path: str) -> SequenceBatchGenerator:
    """The windows of an input, in the form of the training examples."""
    trained_on = definition.sequence_training_data(args.data, args.batch_size)
    return trained_on.for_prediction(path, args.stride, "number" if args.names == "number" else None)


def has_own_generator(definition: Definition) -> bool:
    """Whether the definition says how an input is read."""
    return definition.function("get_pred_generator") is not None


class OfInput:
    """The model of a task and the windows of an input, in a worker."""

    def __init__(self, trainer: Trainer, task: Task, path: str) -> None:
        args = trainer.args
        model = trainer.trained_model(trainer.results.trial(task.name), task.config)
        if has_own_generator(trainer.definition):
            data = trainer.definition.prediction_data(path)
        else:
            data = windows_like_training(trainer.definition, args, path)
        assert isinstance(data, SequenceBatchGenerator)  # as it is in the run's process
        self._predictor = WindowPredictor(model, data, args.both_strands, args.mc_dropout, args.seed)

    def facts(self) -> dict[str, Any]:
        """What the predictions depend on, as it is here."""
        return self._predictor.facts()

    def arrays(self, chunk: Chunk) -> Arrays:
        """The predictions on the windows of a chunk."""
        return self._predictor.predict(chunk.first, chunk.last)
