"""The journal of a search: which configurations were drawn and what came of them, in order.

    {"event": "search", "max_epochs": 27, "trials": null, "schedule": "hyperband", "eta": 3, …}
    {"event": "trial", "trial": 0, "round": 0, "bracket": 0, "config": {"lr": 0.01}}
    {"event": "result", "trial": 0, "epochs": 1, "trained": 1, "reward": -0.31, "best_epoch": 1,
     "ended": "epochs", "error": null, "stops": []}
    {"event": "end"}

Each line also has a `sum`, which is a checksum of it and of the lines before it. A further "search" line says
that the search goes on to more epochs or trials. `stops` are the trials that a result puts out of the race.
The line "search" also has "set", the values that are fixed, "try", the configurations of the first trials,
"with", the options of the training, and "pack", how many trials train together, where they are given. There
is no time of day, so that the same search gives the same journal.
"""

import json
import math
import textwrap
from typing import Any, NamedTuple

from helixband.errors import ResultsMismatch
from helixband.files import misfit
from helixband.results.journal import Journal
from helixband.results.shapes import EVENTS
from helixband.search.executors.task import Document, Outcome
from helixband.search.schedules import one_round
from helixband.training.ended import Ended
from hyperband import Result, Rung


class Place(NamedTuple):
    """Where a trial was drawn: the bracket of a round."""

    round: int
    bracket: int


class SearchJournal:
    """The events of a search found in a journal, and the writing of new ones.

    `settings` are those of this run. A search may be extended: "max_epochs" and "trials" may have grown; None
    trials are what was recorded, as is a "pack" of None; "off" is none. Raises `ResultsMismatch` where they
    shrank, or any other differs.
    """

    def __init__(self, journal: Journal, settings: dict[str, Any]) -> None:
        self._journal = journal
        self.trials: list[tuple[Place, Document]] = []
        self.results: list[tuple[Result, Outcome, list[int]]] = []
        """With the trials that each put out of the race."""
        self.settings = settings
        self._recorded: dict[str, Any] = {}
        self._told: set[tuple[int, int]] = set()
        self._has_ended = False
        for line, event in enumerate(journal.events(), 1):
            kind = event["event"]
            try:
                self._read(event)
                told = misfit(event, EVENTS.get(kind, dict))
                _expect(not told, told)
            except (KeyError, TypeError, ValueError, ArithmeticError) as error:
                what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
                raise journal.damaged(line, what) from error
        pack = settings.get("pack") or self._recorded.get("pack", "off")
        self.settings = {name: value for name, value in settings.items() if name != "pack"}
        if pack != "off":
            self.settings["pack"] = pack
        if self._recorded:
            if settings["trials"] is None:
                self.settings |= {"trials": self._recorded["trials"]}
            self._check_settings()

    @property
    def finished(self) -> bool:
        """Whether all that these settings ask for is done."""
        return self._has_ended and self._recorded == self.settings

    def write_trial(self, trial: int, place: Place, config: Document) -> None:
        """Record a draw; one that a crash of the machine takes is drawn again, and is the same."""
        self._begin()
        event = {"event": "trial", "trial": trial, **place._asdict(), "config": config}
        self._journal.append(event, sync=False)

    def write_result(self, result: Result, outcome: Outcome, stops: list[int]) -> None:
        """Record what came of a job."""
        self._begin()
        found = {
            "trained": outcome.epochs,
            "reward": outcome.reward if math.isfinite(outcome.reward) else None,
            "best_epoch": outcome.best_epoch,
            "ended": outcome.ended,
            "error": outcome.error,
            "stops": stops,
        }
        self._journal.append({"event": "result", "trial": result.trial, "epochs": result.epochs, **found})

    def write_end(self) -> None:
        """Record that the search is finished."""
        self._begin()
        if not self._has_ended:
            self._journal.append({"event": "end"})
            self._has_ended = True

    def _begin(self) -> None:
        """Record the settings where they are new.

        They are written with the first trial: a search that never began does not fix its settings.
        """
        if self._recorded != self.settings:
            self._journal.append({"event": "search", **self.settings})
            self._recorded, self._has_ended = self.settings, False

    def _read(self, event: dict[str, Any]) -> None:
        """Take an event; raises `KeyError` or `ValueError` where it cannot follow those before it."""
        kind = event.pop("event")
        if kind == "search":
            _usual_trials(event)
            self._recorded, self._has_ended = event, False
            return
        _expect(bool(self._recorded), f'"{kind}" comes before any "search"')
        if kind == "trial":
            self._read_trial(event)
        elif kind == "result":
            self._read_result(event)
        else:
            _expect(kind == "end", f'"{kind}" is no event of this version')
            self._has_ended = True

    def _read_trial(self, event: dict[str, Any]) -> None:
        place, expected = Place(event["round"], event["bracket"]), len(self.trials)
        _expect(event["trial"] == expected, f"trial {event['trial']} comes where trial {expected} was drawn")
        brackets = len(_one_round(self._recorded))
        _expect(place.round in range(expected + 1), f"there is no round {place.round} yet")
        _expect(place.bracket in range(brackets), f"there is no bracket {place.bracket}")
        _expect(isinstance(event["config"], dict), f"the configuration is {event['config']!r}")
        self.trials.append((place, event["config"]))

    def _read_result(self, event: dict[str, Any]) -> None:
        trial, epochs, trained, error = (event[name] for name in ("trial", "epochs", "trained", "error"))
        drawn = range(len(self.trials))
        _expect(trial in drawn, f"a result of trial {trial} comes before the trial")
        _expect(epochs in range(1, self._recorded["max_epochs"] + 1), f"there is no rung of {epochs} epochs")
        _expect((trial, epochs) not in self._told, f"trial {trial} has a result at {epochs} epochs before")
        self._told.add((trial, epochs))
        _expect(all(stopped in drawn for stopped in event["stops"]), f"it stops {event['stops']}")
        reward = -math.inf if event["reward"] is None else float(event["reward"])
        ended = Ended(event.get("ended") or _ended(error, trained < epochs))
        outcome = Outcome(reward, event["best_epoch"], trained, error, ended=ended)
        self.results.append((Result(trial, epochs, reward), outcome, event["stops"]))

    def _check_settings(self) -> None:
        recorded, wanted = dict(self._recorded), dict(self.settings)
        for settings in (recorded, wanted):
            settings["trials"] = settings["trials"] or _usual_trials(recorded)
        grown = [name for name in ("max_epochs", "trials") if recorded[name] < wanted[name]]
        other = [
            name
            for name in dict.fromkeys([*wanted, "set", "try", "with", "pack"])
            if _text(recorded.get(name)) != _text(wanted.get(name)) and name not in grown
        ]
        if other:
            listed = ", ".join(
                f"{_flag(name)} was {_shown(name, recorded)} and is {_shown(name, wanted)}" for name in other
            )
            raise ResultsMismatch(
                f"{self._journal.path} is of a search with other settings: {listed}; give the same ones (the "
                "epochs and the number of trials may grow), or another directory with --result"
            )


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _ended(error: str | None, early: bool) -> Ended:
    """How a trial ended, of a journal that does not say it."""
    if error is not None:
        return Ended.ERROR
    return Ended.HOPELESS if early else Ended.EPOCHS


def _usual_trials(settings: dict[str, Any]) -> int:
    """How many there are where no number is asked for."""
    return sum(rungs[0].configurations for rungs in _one_round(settings))


def _one_round(settings: dict[str, Any]) -> list[list[Rung]]:
    return one_round(settings["schedule"], settings["max_epochs"], settings["eta"])


def _text(value: Any) -> str:
    """To compare: true is no 1."""
    return json.dumps(value, sort_keys=True)


def _shown(name: str, settings: dict[str, Any]) -> str:
    value = settings.get(name)
    if isinstance(value, dict | list):
        return textwrap.shorten(json.dumps(value, ensure_ascii=False), 100, placeholder=" …")
    missing = "off" if name == "pack" else "not given"
    return missing if value is None else str(value)


def _flag(setting: str) -> str:
    return "--epoch" if setting == "max_epochs" else f"--{setting.replace('_', '-')}"
