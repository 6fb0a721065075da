"""Which schedule a search has, its plan, and the schedule that waits for nothing.

Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht and Talwalkar, "A System for Massively Parallel
Hyperparameter Tuning", MLSys 2020, Algorithm 2 (ASHA).
"""

from collections.abc import Sequence

from hyperband import Hyperband, Job, Rung, Schedule, Suggest, brackets

SCHEDULES = ("hyperband", "asha", "sha", "none")


def one_round(schedule: str, max_epochs: int, eta: int) -> list[list[Rung]]:
    """The rungs of each bracket of a search where no number of trials is asked for.

    "hyperband" has its brackets; "sha", successive halving, the first of them alone; "asha" its rungs with as
    many trials as Hyperband; "none" as many, each trained to the end.

    >>> one_round("asha", 9, 3)
    [[Rung(configurations=17, epochs=1), Rung(configurations=5, epochs=3), Rung(configurations=1, epochs=9)]]
    """
    found = brackets(max_epochs, eta)
    trials = sum(rungs[0].configurations for rungs in found)
    if schedule == "none":
        return [[Rung(trials, max_epochs)]]
    if schedule == "asha":
        return [_resized(found[0], trials, eta)]
    return found[:1] if schedule == "sha" else found


def plan(
    schedule: str, max_epochs: int, eta: int, trials: int | None = None, members: Sequence[int] = ()
) -> list[list[Rung]]:
    """The rungs of each bracket of a search of so many trials, by default those of one round.

    Hyperband's brackets come again until there are so many trials; of the last, the rungs shrink with their
    trials. `members` are the trials that each bracket has already: they stay where they are, and new ones
    fill the brackets from the first on.

    >>> plan("sha", 9, 3, trials=30)
    [[Rung(configurations=30, epochs=1), Rung(configurations=10, epochs=3), Rung(configurations=3, epochs=9)]]
    """
    rounds = one_round(schedule, max_epochs, eta)
    wanted = sum(rungs[0].configurations for rungs in rounds) if trials is None else trials
    left = max(0, wanted - sum(members))
    found: list[list[Rung]] = []
    while left or len(found) < len(members):
        rungs = rounds[len(found) % len(rounds)]
        has = members[len(found)] if len(found) < len(members) else 0
        room = max(0, rungs[0].configurations - has) if schedule == "hyperband" else left
        first = has + min(left, room)
        left -= first - has
        found.append(rungs if first == rungs[0].configurations else _resized(rungs, first, eta))
    return found


def _resized(rungs: Sequence[Rung], first: int, eta: int) -> list[Rung]:
    return [Rung(min(first, max(1, first // eta**n)), rung.epochs) for n, rung in enumerate(rungs)]


class Asha(Schedule):
    """Asynchronous successive halving: who is in the best 1/eta of a rung so far is promoted at once."""

    @property
    def finished(self) -> bool:
        return not any(entry.target for entry in self.trials) and not self._next() and not self._to_draw(0)

    def ask(self) -> Job | None:
        if found := self._next():
            return self._job(*found)
        if not self._to_draw(0):
            return None
        trial = self._draw(0, self.results())
        return None if trial is None else self._job(trial, 0)

    def _next(self) -> tuple[int, int] | None:
        """(trial, rung) to hand out, of the highest rung first; drawn trials before new ones."""
        for rung in range(len(self.plan[0]) - 1, 0, -1):
            ranked = self._ranked(0, rung - 1)
            for trial in ranked[: len(ranked) // self.eta]:
                if self._is_waiting(trial, 0, rung):
                    return trial, rung
        return next(((trial, 0) for trial in self._members[0] if self._is_waiting(trial, 0, 0)), None)

    def _losers(self, bracket: int) -> list[int]:
        rungs, losers = self.plan[bracket], set[int]()
        for rung in range(len(rungs)):
            ranked = self._ranked(bracket, rung)
            racing = [trial for trial, entry in enumerate(self.trials) if not entry.out]
            to_come = len(set(racing) - losers - set(ranked)) + self._to_draw(bracket)
            promoted = (len(ranked) + to_come) // self.eta  # at most, once all have come
            last = rung + 1 == len(rungs)
            for trial in ranked[self._kept(len(ranked) + to_come) if last else promoted :]:
                if not self.trials[trial].out and (last or not self._has_begun(trial, bracket, rung + 1)):
                    losers.add(trial)
        return sorted(losers)


def make_schedule(
    kind: str, rungs: list[list[Rung]], eta: int, suggest: Suggest, lag: int | None
) -> Schedule:
    """The schedule of that name; `lag` as in `Hyperband`."""
    return Asha(rungs, eta, suggest) if kind == "asha" else Hyperband(rungs, eta, suggest, lag)
