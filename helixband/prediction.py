"""The stage that predicts: each input by the definition's own generator, or window by window."""

import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from base_model import DEBUG_BATCHES, BaseModel
from helixband.context import Context
from helixband.errors import DataError, UsageError
from helixband.files import matching_files
from helixband.generators.sequences import SequenceBatchGenerator
from helixband.genome_prediction import WindowPredictor, predict_windows
from helixband.outputs.bigwig import check_installed
from helixband.predictions import input_name, write_predictions
from helixband.randomness import derive_seed, seed_everything
from helixband.runfile import file_facts

WINDOW_FLAGS = {"--stride": "stride", "--both-strands": "both_strands", "--format": "format"}
DEFAULT_FORMATS = ("npy", "tsv")


class Prediction:
    """The inputs of `--predict`, and what is made of them.

    An input whose generator is one of sequences, by the definition's `get_pred_generator` or, where that is
    missing, like the training generator, is predicted in chunks; others at once.
    """

    def __init__(self, context: Context) -> None:
        self.args = context.args
        self.definition = context.definition
        self.results = context.results
        self.run_file = context.run_file
        self.progress = context.progress
        self.inputs: dict[str, str] = {}
        self._own_generator = self.definition.function("get_pred_generator") is not None

    def find_inputs(self) -> None:
        """Find the files; raises `UsageError` where there are none, or flags do not go together."""
        self.inputs = self._inputs()
        self._check_flags()

    def check_training_data(self) -> None:
        """Raises `DefinitionError` where no generator for prediction can be made from the training one."""
        if self.inputs and not self._own_generator:
            self.definition.sequence_training_data(self.args.data, self.args.batch_size)

    def predict(
        self, name: str, path: str, load_model: Callable[[], BaseModel], facts: dict[str, Any]
    ) -> None:
        """Predict on one input with the model, unless that was done with the same `facts`."""
        facts = (
            facts | file_facts(path) | {"stride": self.args.stride, "both_strands": self.args.both_strands}
        )
        formats = self.args.format or DEFAULT_FORMATS
        stage = f"predict {name}"
        done = self.run_file.stage(stage) or {"facts": None, "formats": [], "outputs": []}
        earlier = [self.results.path / output for output in done["outputs"]]
        same = done["facts"] == facts and all(output.exists() for output in earlier)
        if same and set(formats) <= set(done["formats"]):
            self.progress.say(f"predict: {path} is done already" + "".join(f", {o}" for o in earlier))
            return
        model, data = load_model(), self._data(path)
        seed_everything(derive_seed(self.args.seed, "predict", name))
        save = self.definition.function("save_prediction")
        if isinstance(data, SequenceBatchGenerator) and not save:
            outputs = self._predict_windows(name, model, data, facts, formats)
        else:
            outputs = self._predict_whole(name, path, model, data)
        if same:
            formats, kept = {*done["formats"], *formats}, {*earlier, *outputs}
        else:  # what an earlier run wrote besides would be of other predictions
            kept = set(outputs)
            for output in set(earlier) - kept:
                output.unlink(missing_ok=True)
        # Relative, so that a result directory can be moved.
        relative = sorted(str(output.relative_to(self.results.path)) for output in kept)
        self.run_file.finish_stage(stage, {"facts": facts, "formats": sorted(formats), "outputs": relative})
        written = ", ".join(str(output) for output in outputs) or "save_prediction of the definition"
        self.progress.say(f"predict: {path} -> {written}")

    def _predict_windows(
        self,
        name: str,
        model: BaseModel,
        data: SequenceBatchGenerator,
        facts: dict[str, Any],
        formats: Collection[str],
    ) -> list[Path]:
        args = self.args
        if args.debug:
            data = data.part(np.arange(min(data.n_examples, DEBUG_BATCHES * args.batch_size)))
        self.progress.say(f"predict: {data.n_examples:,} windows of {data.length} bases of {name}")
        predictor = WindowPredictor(model, data, args.both_strands, args.mc_dropout, args.seed)
        self.progress.begin_windows(data.length)
        written = predict_windows(predictor, self.results, name, facts, formats, self.progress.windows)
        self.progress.end()
        return written

    def _predict_whole(self, name: str, path: str, model: BaseModel, data: Iterable[Any]) -> list[Path]:
        if given := [flag for flag, name in WINDOW_FLAGS.items() if getattr(self.args, name)]:
            raise UsageError(
                f"{given[0]} is for windows of sequences, which come from a FastaBatchGenerator or an "
                f"IntervalBatchGenerator and do not go to save_prediction, as in {self.definition.path}"
            )
        samples = self.args.mc_dropout
        y_pred, spread = model.predict_mc(data, samples) if samples else (model.predict(data), None)
        if save := self.definition.function("save_prediction"):
            save(path, y_pred)
            return []
        return write_predictions(self.results, name, path, y_pred, spread)

    def _data(self, path: str) -> Iterable[Any]:
        if self._own_generator:
            return self.definition.prediction_data(path)
        trained_on = self.definition.sequence_training_data(self.args.data, self.args.batch_size)
        return trained_on.for_prediction(path, self.args.stride)

    def _check_flags(self) -> None:
        if "bw" in (self.args.format or ()):
            check_installed()
        if self._own_generator and self.args.stride:
            raise UsageError(
                f"--stride {self.args.stride}: the windows are those of get_pred_generator in "
                f"{self.definition.path}; set their stride there, or leave it out"
            )

    def _inputs(self) -> dict[str, str]:
        """Name -> path of each input to predict on."""
        found: dict[str, str] = {}
        for pattern in self.args.predict:
            try:
                paths = matching_files(pattern, self.args.data)
            except DataError as error:
                raise UsageError(f"--predict {pattern}: {error}; paths are under --data") from error
            for path in paths:
                name = input_name(path, self.args.data)
                if found.setdefault(name, path) != path:
                    raise UsageError(f"--predict: {found[name]} and {path} would both be named {name}")
                earlier = (self.run_file.stage(f"predict {name}") or {}).get("facts", {}).get("path", path)
                if os.path.exists(earlier) and not os.path.samefile(earlier, path):
                    raise UsageError(
                        f"--predict: {path} would be named {name}, as {earlier} was; rename it, or choose "
                        "another directory with --result"
                    )
        return found
