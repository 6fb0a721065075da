"""The journal of a search: which configurations were drawn and what came of them, in order.

    {"event": "search", "max_epochs": 27, "eta": 3, "seed": 0, "batch_size": 100, "sampler": "random"}
    {"event": "trial", "trial": 0, "config": {"lr": 0.01}}
    {"event": "result", "trial": 0, "epochs": 1, "reward": -0.31, "best_epoch": 1, "error": null}
    {"event": "end"}

It holds no time of day, so that the same search gives the same journal.
"""

import math
from typing import Any

from helixband.errors import ResultsMismatch
from helixband.results import Journal
from helixband.search.trial import Document, Outcome


class SearchJournal:
    """The events of a search found in a journal, and the writing of new ones.

    Raises `ResultsMismatch` where the journal is of a search with other settings.
    """

    def __init__(self, journal: Journal, settings: dict[str, Any]) -> None:
        self._journal = journal
        self._configs: dict[int, Document] = {}
        self._outcomes: dict[tuple[int, int], Outcome] = {}
        self.settings = settings
        self.finished = False
        events = journal.events()
        self._empty = not events
        for event in events:
            kind = event.pop("event")
            if kind == "search":
                self._check_settings(event, settings)
            elif kind == "trial":
                self._configs[event["trial"]] = event["config"]
            elif kind == "result":
                reward = -math.inf if event["reward"] is None else event["reward"]
                outcome = Outcome(reward, event["best_epoch"], event["error"])
                self._outcomes[event["trial"], event["epochs"]] = outcome
            elif kind == "end":
                self.finished = True

    def config(self, trial: int) -> Document | None:
        """The configuration drawn for a trial, or None."""
        return self._configs.get(trial)

    def outcome(self, trial: int, epochs: int) -> Outcome | None:
        """What came of a trial trained to so many epochs, or None."""
        return self._outcomes.get((trial, epochs))

    def write_config(self, trial: int, config: Document) -> None:
        """Record a draw."""
        if self._empty:  # not before there is a trial: a search that never began binds nobody to its settings
            self._journal.append({"event": "search", **self.settings})
            self._empty = False
        self._journal.append({"event": "trial", "trial": trial, "config": config})

    def write_outcome(self, trial: int, epochs: int, outcome: Outcome) -> None:
        """Record a result."""
        reward = outcome.reward if math.isfinite(outcome.reward) else None
        found = {"reward": reward, "best_epoch": outcome.best_epoch, "error": outcome.error}
        self._journal.append({"event": "result", "trial": trial, "epochs": epochs, **found})

    def write_end(self) -> None:
        """Record that the search is finished."""
        if not self.finished:
            self._journal.append({"event": "end"})
            self.finished = True

    def _check_settings(self, recorded: dict[str, Any], wanted: dict[str, Any]) -> None:
        other = [name for name in wanted if recorded.get(name) != wanted[name]]
        if other:
            listed = ", ".join(f"{name} was {recorded.get(name)} and is {wanted[name]}" for name in other)
            raise ResultsMismatch(
                f"{self._journal.path} is of a search with other settings: {listed}; "
                "give the same ones, or another directory with --result"
            )
