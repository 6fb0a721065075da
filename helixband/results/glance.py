"""How far a run is, from the bytes of a few files of its result directory, wherever these were read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_RUN = "run.json"
_SINGLE = "trials/single/train_results.json"
_BEST = "best_config/train_results.json"
_JOURNAL = "search/journal.jsonl"

_CONFIG = "best_config/config.json"
_TEST = "test_result.json"

OUTCOME = (_CONFIG, _TEST)
"""What is read, whole, of a run that is done: its hyperparameters, and its metrics of the test set."""

FILES = (_RUN, _SINGLE, _BEST, _JOURNAL)
"""What is read of a result directory: of each file the last bytes alone, some thousands."""


@dataclass(frozen=True)
class Glance:
    """`epoch` of `epochs` of a single training, or the number of `trials` of a search; the best `reward`.

    None of what is not known, as of a run that has just begun.
    """

    epoch: int | None = None
    epochs: int | None = None
    trials: int | None = None
    reward: float | None = None

    def __str__(self) -> str:
        if self.trials is not None:
            return f"{self.trials} trials" if self.trials != 1 else "1 trial"
        if self.epoch is None:
            return ""
        return f"epoch {self.epoch}" + (f"/{self.epochs}" if self.epochs else "")


def glance(contents: Mapping[str, bytes]) -> Glance:
    """How far a run is, from what `FILES` have; one that is missing, or is not whole, tells nothing."""
    documents = {name: _document(content) for name, content in contents.items()}
    single, best = documents.get(_SINGLE, {}), documents.get(_BEST, {})
    trials = None
    for line in contents.get(_JOURNAL, b"").splitlines():
        number = _document(line).get("trial")
        if isinstance(number, int):
            trials = max(trials or 0, number + 1)
    epochs = documents.get(_RUN, {}).get("settings", {}).get("epoch")
    reward = (single or best if trials is None else best).get("reward")
    return Glance(None if trials is not None else single.get("epochs"), epochs, trials, reward)


def outcome(contents: Mapping[str, bytes]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(hyperparameters, metrics of the test set) from what `OUTCOME` have; {} of what is not there."""
    return _document(contents.get(_CONFIG, b"")), _document(contents.get(_TEST, b""))


def _document(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
