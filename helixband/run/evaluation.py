"""The stages that look at the test set: the check for leakage before training, the evaluation after it."""

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from base_model import BaseModel
from helixband.audit.audit import Examples, audit, describe
from helixband.audit.examples import Unlike, digests_of, examples_of, marks
from helixband.definition.contract import kind_of
from helixband.display.text import show_number, show_row
from helixband.env import without_credentials
from helixband.errors import DataError, HelixbandError, counted
from helixband.files import exists, remove_file, remove_folder
from helixband.generators.base import BatchGenerator
from helixband.randomness import derive_seed, seed_everything
from helixband.results.pictures import write_pictures
from helixband.results.scored import UNLIKE, reason_to_leave_out, without_unlike, write_scored
from helixband.run.context import Context, Stage
from helixband.search.executors.chunks import SpreadOver
from helixband.search.executors.scoring import Elsewhere, facts_of, first_epoch, form_of, in_portions
from helixband.search.executors.task import Chunk, Task
from helixband.search.executors.workers import ChunkWorkers
from helixband.training import judge, pictures
from helixband.training.feed import Pairs, as_stored
from helixband.training.portions import portions_of
from helixband.training.weighting import split_of

LIMITED = "limited_to_batches"
"""Marks the result of a test on a part of the set."""

SHOWN = {
    "majority_accuracy": "majority class accuracy",
    "kmer_accuracy": "6-mers accuracy",
    "kmer_auroc": "6-mers auroc",
    "mean_mse": "mean mse",
    "kmer_mse": "6-mers mse",
    "kmer_pearson": "6-mers pearson",
}
"""Of the baselines, those that an evaluation shows; the check has all."""


class Evaluation(Stage):
    """The test set: what it has in common with the training set, and what the model scores on it."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._kept: BatchGenerator | None = None

    def check(self) -> None:
        """Say what a good score could come from besides biology, and store it for the evaluation.

        Raises `DataError` where the data are no nucleic acids.
        """
        self.results.check_lock()
        test_data = self.test_data()
        train, test = self._examples(self._train(), test_data)
        self.progress.say(
            f"check: {len(train.sequences):,} training and {counted(len(test.sequences), 'test sequence')}"
        )
        report = audit(train, test)
        self.progress.say(describe(report))
        digests, similar = digests_of(test.sequences), np.flatnonzero(report.similar).tolist()
        found = {
            "similar_examples": similar,
            "similar_digests": sorted({digests[number] for number in similar}),
            "of": self._of_data(test_data, digests),
        }
        self.results.write_audit({**report.to_json(), **found})
        self.progress.say(f"  written to {self.results.audit_file}")

    def is_done(self, facts: dict[str, Any]) -> bool:
        """Whether the test set was scored with the same `facts`."""
        files = self._files()
        return all(exists(file) for file in files) and self.run_file.stage("evaluate") == self._facts(facts)

    def evaluate(
        self,
        load_model: Callable[[], BaseModel],
        facts: dict[str, Any],
        workers: ChunkWorkers,
    ) -> None:
        """Score the test set, and trivial models on it, unless that was done with the same `facts`.

        Chunks of a large set are evaluated by the workers, where there are any.
        """
        results, similar = self.results, self._similar_digests()
        if self.is_done(facts):
            self.run_file.check_files(self._files())
            self.progress.say(f"test: done already, {self.results.test_file}")
            self._tell(" ", self.results.test_result())
            return
        results.check_lock()
        model, test = load_model(), self.test_data()
        seed_everything(derive_seed(self.args.seed, "evaluate"))
        with model.engine.limited(model.engine.options.limit_test, test, "limit_test") as limit:
            elsewhere = self._elsewhere(model, test, facts["trial"], workers, limit)
            result, y_true, y_pred = self._score(model, test, elsewhere)
            if elsewhere is not None:
                remove_folder(results.test_chunks)
            seed_everything(derive_seed(self.args.seed, "evaluate"))  # the rest in this process, as ever
            if similar:
                result |= self._score_unlike(model, test, similar)
            shown = pictures.of_set(model, test)
        if limit is not None:
            result |= {LIMITED: limit}
        names = judge.names_of(model, y_pred)
        baselines = self._marks(model, test)
        left_out = model.engine.foreign.left_out if model.engine.foreign is not None else ""
        left_out = left_out or reason_to_leave_out(y_true, y_pred)
        rest = [results.baselines_file, results.test_set_file, results.pictures_file]
        self.run_file.begin_stage("evaluate", [results.test_file, *rest])
        for file in rest:  # that none of an earlier test stands beside the new result, if a kill comes now
            remove_file(file)
        results.write_test_result(result)
        results.write_baselines(baselines)
        if not left_out:
            write_scored(results.test_set_file, y_true, y_pred, names, kind_of(model))
        if shown:
            write_pictures(results.pictures_file, shown)
        self.run_file.finish_stage("evaluate", self._facts(facts), [results.test_file, *rest])
        self._tell("test:", result)
        self.progress.say(f"  written to {results.test_file}")
        if left_out:
            self.progress.say(f"  its labels and predictions are not kept for the report: {left_out}")

    def test_data(self) -> Iterable[Any]:
        """The generator of the test set, in its first epoch. One of ours is kept until `release`."""
        made = self.definition.test_data(self.args.data) if self._kept is None else self._kept
        if isinstance(made, BatchGenerator):
            self._kept = made
        return first_epoch(made)

    def release(self) -> None:
        """Let go of the test set, whose memory is the training's."""
        self._kept = None

    def _files(self) -> list[Path]:
        """What is stored of an evaluation."""
        results = self.results
        rest, kept = [results.test_set_file, results.pictures_file], self.run_file.digests()
        return [results.test_file, results.baselines_file, *(file for file in rest if file.name in kept)]

    def _facts(self, facts: dict[str, Any]) -> dict[str, Any]:
        """All that an evaluation depends on."""
        similar = self._similar_digests()
        told = hashlib.sha256("".join(similar).encode()).hexdigest() if similar else None
        return facts | {"data": without_credentials(self.args.data), "similar": told}

    def check_readable(self, found: object | None, of_what: str) -> None:
        """Raise `DataError` where no nucleic acids were found in some data."""
        if found is None:
            raise DataError(
                f"{self.definition.path}: --check reads DNA and RNA, as indexes or one-hot, and the x of the "
                f"{of_what} is neither; leave --check out"
            )

    def _examples(self, train: Iterable[Any], test: Iterable[Any]) -> tuple[Examples, Examples]:
        """All training and test examples, with coordinates where both have them on the same genome."""
        generators = {"training": train, "test": test}
        examples = []
        for which, generator in generators.items():
            found = examples_of(generator)
            self.check_readable(found, f"{which} data")
            assert found is not None
            examples.append(found)
        genomes = {getattr(generator, "coordinates", None) for generator in generators.values()}
        if len(genomes) > 1 or None in genomes:
            examples = [replace(found, intervals=None) for found in examples]
        return examples[0], examples[1]

    def _elsewhere(
        self,
        model: BaseModel,
        test: Iterable[Any],
        trial: str,
        workers: ChunkWorkers,
        limit: int | None,
    ) -> Elsewhere | None:
        """What has workers evaluate the test set; None where this process does, which is said."""
        args = self.args
        if args.debug or not workers.are_wanted(args):
            return None
        portions, form, why = None, None, "Lightning's Trainer tests the model"
        if model.engine.foreign is None:
            portions, why = (
                portions_of(test, model),
                f"a {type(test).__name__} is read from its beginning alone",
            )
        if portions is not None and portions.order is not None and limit is not None:
            portions, why = None, "limit_test is for the first records, and these are read by length"
        if portions is not None:
            if len(portions.spans(limit)) == 1:
                return None
            form, why = form_of(model, test, portions, args.mc_dropout)
        if portions is None or form is None:
            self.progress.say(f"test: in this process alone: {why}")
            return None
        config = self.results.config_of(self.results.trial(trial)) or {}
        task = Task(trial, config, epochs=0, chunk=Chunk(None, facts_of(model, portions)))
        folder, say, executor = self.results.test_chunks, self.progress.say, workers("the test set")
        return Elsewhere(lambda task: SpreadOver(executor, task, folder, say), task, portions, form, limit)

    def _score(
        self, model: BaseModel, test: Iterable[Any], elsewhere: Elsewhere | None = None
    ) -> tuple[dict[str, float], Any, Any]:
        """The metrics, the labels and the predictions."""
        samples = self.args.mc_dropout
        if model.engine.foreign is not None:
            return model.engine.foreign.score(test, samples)
        if not samples:
            return judge.whole(model, test, elsewhere)
        if elsewhere is None and not isinstance(test, Unlike):
            test = in_portions(model, test, self.args)
        return judge.whole_mc(model, test, samples, elsewhere)

    def _score_unlike(self, model: BaseModel, test: Iterable[Any], similar: list[str]) -> dict[str, float]:
        """The metrics, as `unlike_<name>`, of the test examples that the check did not find similar."""
        unlike = Unlike(test, similar)
        if next(iter(unlike), None) is None:
            return {f"{UNLIKE}examples": 0}
        scores = self._score(model, unlike)[0]
        return {f"{UNLIKE}examples": unlike.count, **{f"{UNLIKE}{k}": value for k, value in scores.items()}}

    def _marks(self, model: BaseModel, test: Iterable[Any]) -> dict[str, float | str]:
        """What trivial models score, or why that is not known."""
        if model.engine.options.limit_test is not None:
            return {"missing": "the test was limited to a part of the set (limit_test)"}
        classes = {"classes": True, "numbers": False}.get(kind_of(model))
        try:
            train, split = self._train(), split_of(model)
            if split is not None:
                train, test = Pairs(as_stored(train), split), Pairs(test, split)
            found = marks(train, test, classes)
        except (HelixbandError, OSError) as error:  # the model can be tested where its training data are not
            missing = f"the training data cannot be read, or the test data not again ({error})"
            return {"missing": without_credentials(missing)}
        if found is None:
            return {"missing": "the labels are neither classes nor single numbers"}
        return {name: value for name, value in asdict(found).items() if name in SHOWN and value == value}

    def _similar_digests(self) -> list[str]:
        """Of the test sequences that the check found similar to training ones, if it was of the same data."""
        if not exists(self.results.audit_file):
            return []
        stored = self.results.audit()
        if stored.get("of") == self._of_data(self.test_data()):
            return list(stored.get("similar_digests", ()))
        self.progress.say(
            f"note: {self.results.audit_file} is of other test data or of another definition, and is left "
            "out; --check makes it again"
        )
        return []

    def _tell(self, head: str, result: dict[str, float]) -> None:
        whole, unlike = without_unlike(result)
        self.progress.say(f"{head} {show_row(whole)}")
        if unlike:
            row = {name: unlike[name] for name in whole if name in unlike}
            left = round(unlike["examples"])
            self.progress.say(f"  on the {counted(left, 'example')} unlike the training set: {show_row(row)}")
        found = self.results.baselines()
        if "missing" in found:
            self.progress.say(f"  baselines: none, for {found['missing']}")
        else:
            shown = [f"{SHOWN[name]} {show_number(value)}" for name, value in found.items()]
            self.progress.say(f"  baselines: {', '.join(shown)}")
            for name, mark in found.items():
                scored = whole.get(name.partition("_")[2], math.nan)
                if scored < mark and not name.endswith("_mse"):
                    below = f"{show_number(scored)} < {show_number(mark)}"
                    self.progress.say(f"  the model does not reach the {SHOWN[name]}: {below}")

    def _of_data(self, test: Iterable[Any], digests: list[str] | None = None) -> dict[str, Any]:
        """What the check depends on, wherever it lies; `digests` are of the test sequences, where known."""
        store = getattr(test, "store", None)
        if store is not None:
            return {"definition": self.definition.digest, "test": store.digest}
        if digests is None:
            found = examples_of(test)
            digests = [] if found is None else digests_of(found.sequences)
        # In order, for a generator may shuffle.
        digest = hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()
        return {"definition": self.definition.digest, "test": digest}

    def _train(self) -> Iterable[Any]:
        return self.definition.training_data(self.args.data, self.args.batch_size)[0]
