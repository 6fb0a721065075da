"""The stages that look at the test set: the check for leakage before training, the evaluation after it."""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from base_model import BaseModel
from helixband.context import Context
from helixband.errors import DataError, HelixbandError
from helixband.leakage import Selected, examples_of, marks
from helixband.progress import show_number, show_row
from helixband.randomness import derive_seed, seed_everything
from helixband.sequence.audit import audit, describe

UNLIKE = "unlike_"

SHOWN = {
    "majority_accuracy": "majority class accuracy",
    "kmer_accuracy": "6-mers accuracy",
    "kmer_auroc": "6-mers auroc",
    "mean_mse": "mean mse",
    "kmer_mse": "6-mers mse",
    "kmer_pearson": "6-mers pearson",
}
"""Of the baselines, those that an evaluation shows; the check has all."""


class Evaluation:
    """The test set: what it has in common with the training set, and what the model scores on it."""

    def __init__(self, context: Context) -> None:
        self.args = context.args
        self.definition = context.definition
        self.results = context.results
        self.run_file = context.run_file
        self.progress = context.progress

    def check(self) -> None:
        """Say what a good score could come from besides biology, and store it for the evaluation.

        Raises `DataError` where the data are no nucleic acids.
        """
        train, test = examples_of(self._train()), examples_of(self._test())
        if train is None or test is None:
            which = "training" if train is None else "test"
            raise DataError(
                f"{self.definition.path}: --check reads DNA and RNA, as indexes or one-hot, and the x of the "
                f"{which} generator is neither; leave --check out"
            )
        self.progress.say("check: the test set beside the training set")
        report = audit(train, test)
        self.progress.say(describe(report))
        similar = np.flatnonzero(report.similar).tolist()
        self.results.write_audit({**report.to_json(), "similar_examples": similar, "of": self._of_data()})
        self.progress.say(f"  written to {self.results.audit_file}")

    def evaluate(self, load_model: Callable[[], BaseModel], facts: dict[str, Any]) -> None:
        """Score the test set, and trivial models on it, unless that was done with the same `facts`."""
        similar = self._similar_examples()
        facts = facts | {"data": self.args.data, "similar_examples": len(similar)}
        if self.results.test_file.exists() and self.run_file.stage("evaluate") == facts:
            self.progress.say(f"test: done already, {self.results.test_file}")
            self._tell(" ", self.results.test_result())
            return
        model, test = load_model(), self._test()
        seed_everything(derive_seed(self.args.seed, "evaluate"))
        result = self._score(model, test)
        if similar:
            result |= self._score_unlike(model, test, similar)
        self.results.write_test_result(result)
        self.results.write_baselines(self._marks(test))
        self.run_file.finish_stage("evaluate", facts)
        self._tell("test:", result)
        self.progress.say(f"  written to {self.results.test_file}")

    def _score(self, model: BaseModel, test: Iterable[Any]) -> dict[str, float]:
        samples = self.args.mc_dropout
        return model.evaluate_mc(test, samples) if samples else model.evaluate(test)

    def _score_unlike(self, model: BaseModel, test: Iterable[Any], similar: list[int]) -> dict[str, float]:
        """The metrics, as `unlike_<name>`, of the test examples that the check did not find similar."""
        n_test = self.results.audit()["n_test"]
        unlike = np.ones(n_test, dtype=np.bool_)
        unlike[similar] = False
        if not unlike.any():
            return {}
        scores = self._score(model, Selected(test, unlike))
        return {f"{UNLIKE}{name}": value for name, value in scores.items()}

    def _marks(self, test: Iterable[Any]) -> dict[str, float | str]:
        """What trivial models score, or why that is not known."""
        try:
            found = marks(self._train(), test)
        except (HelixbandError, OSError) as error:  # the model can be tested where its training data are not
            return {"missing": f"the training data cannot be read ({error})"}
        if found is None:
            return {"missing": "the labels are neither classes nor single numbers"}
        return {name: value for name, value in asdict(found).items() if name in SHOWN and value == value}

    def _similar_examples(self) -> list[int]:
        """The test examples that the check found similar to training ones, if it was of the same data."""
        if not self.results.audit_file.exists():
            return []
        stored = self.results.audit()
        return list(stored["similar_examples"]) if stored["of"] == self._of_data() else []

    def _tell(self, head: str, result: dict[str, float]) -> None:
        whole = {name: value for name, value in result.items() if not name.startswith(UNLIKE)}
        unlike = {name.removeprefix(UNLIKE): result[name] for name in result.keys() - whole.keys()}
        self.progress.say(f"{head} {show_row(whole)}")
        if unlike:
            audit = self.results.audit()
            left = audit["n_test"] - len(audit["similar_examples"])
            row = {name: unlike[name] for name in whole}
            self.progress.say(f"  on the {left:,} examples unlike the training set: {show_row(row)}")
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

    def _of_data(self) -> dict[str, str]:
        """What the check depends on."""
        return {"definition": self.definition.digest, "data": self.args.data}

    def _train(self) -> Iterable[Any]:
        return self.definition.training_data(self.args.data, self.args.batch_size)[0]

    def _test(self) -> Iterable[Any]:
        return self.definition.test_data(self.args.data)
