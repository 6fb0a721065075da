"""Running a search: jobs from its schedule to an executor, their outcomes into the journal and back.

The journal is the state of the search: what it holds is told to a new schedule, and not done again.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait

from helixband.display.progress import Progress
from helixband.display.text import first_line, show_config
from helixband.env import without_credentials
from helixband.errors import HelixbandError, StorageError, TrainingError, counted
from helixband.results.directory import Row, trial_name
from helixband.search.executors.local import Executor, KilledAtStart, WorkerDied
from helixband.search.executors.task import Document, Outcome, Task
from helixband.search.executors.trial import Trainer
from helixband.search.hopeless import Gains
from helixband.search.journal import Place, SearchJournal
from helixband.search.samplers.choice import make_sampler
from helixband.search.samplers.evidence import Evidence
from helixband.search.schedules import make_schedule, one_round, plan
from helixband.search.space import configurations
from helixband.training.ended import Ended
from hyperband import Job, Result, Rung

FIRST_TRIALS = 5
"""A search where all of the first so many trials fail is stopped: the fault is not in one configuration."""
ATTEMPTS = 3
"""A trial whose worker died is begun so many times in all."""
LAG = 8
"""A suggestion does without the results of so many jobs before it, so that as many workers do as one does.

It costs nothing that could be measured; benchmarks/README.md has the figures.
"""
SECONDS_BETWEEN_LOOKS = 1.0


Key = tuple[int, int]
"""A job by its trial and epochs."""


class BudgetSpent(BaseException):
    """Ends a training in this process; not an `Exception`, which would be the trial's failure."""


class Search:
    """A search of a definition's configurations, or what is missing of one.

    `deadline` is a time of `time.monotonic`, at which trials under way are stopped and nothing new begins.
    """

    def __init__(
        self,
        trainer: Trainer,
        journal: SearchJournal,
        executor: Executor,
        progress: Progress,
        deadline: float = math.inf,
    ) -> None:
        self._trainer, self._results = trainer, trainer.results
        self._journal, self._executor, self._progress = journal, executor, progress
        self._deadline = deadline
        settings = journal.settings
        kind, max_epochs, eta = settings["schedule"], settings["max_epochs"], settings["eta"]
        self._round = len(one_round(kind, max_epochs, eta))
        members = Counter(self._number(place) for place, _ in journal.trials)
        counts = [members[bracket] for bracket in range(max(members, default=-1) + 1)]
        self._plan = plan(kind, max_epochs, eta, settings["trials"], counts)
        self._tries: list[Document] = settings.get("try", [])
        self._fixed: Document = settings.get("set", {})
        self._fixed_by = "fixed" if trainer.definition.hparams else "fixed by --set"
        get_config = configurations(trainer.definition, self._fixed, settings["seed"], searches=True)
        self._sampler = make_sampler(settings["sampler"], get_config, settings["seed"])
        lag = max(LAG, executor.capacity) if self._sampler.uses_evidence else None
        self._schedule = make_schedule(kind, self._plan, eta, self._suggest, lag)
        self._gains = Gains(max_epochs) if settings["stop_hopeless"] else None
        self._errors: list[tuple[str, str]] = []
        self._running: dict[Future[Outcome], Job] = {}
        self._again: list[Job] = []  # their workers died
        self._alone: list[Job] = []  # they were out of memory: each goes on when nothing else runs
        self._lonely: set[Key] = set()
        self._deaths: Counter[tuple[bool, Key]] = Counter()
        """Of the workers of each job, at their start or not."""
        self._passed: list[int] = []  # trials that are out of the race and have their checkpoints still
        self._complete: dict[int, Outcome] = {}
        """What came of the trials that ended by themselves: it stands at every later rung."""

    def run(self) -> bool:
        """Whether the search is finished: all is done, or else its time is spent.

        `best_config` then points to the best trial. Raises `TrainingError` where the first trials all fail.
        """
        if self._deadline < math.inf:
            self._progress.time_budget(self._deadline - time.monotonic())
        settings = self._journal.settings
        scope = f"{settings['schedule']} to epoch {settings['max_epochs']}, eta {settings['eta']}"
        self._progress.say(f"search: {scope}, sampler {self._sampler.name}")
        if self._fixed:
            self._progress.say(f"  {self._fixed_by}: {show_config(self._fixed)}")
        if self._tries:
            several = len(self._tries) > 1
            which = f"trials are the {len(self._tries):,} configurations" if several else "trial has the one"
            self._progress.say(f"  the first {which} of --try")
        self._progress.begin_search(self._plan)
        self._restore()
        try:
            self._work()
            if self._schedule.best is None:
                raise self._all_failed()
            self._finish_best(self._schedule.best[0])
        except BudgetSpent:
            return False
        self._journal.write_end()
        return True

    def _restore(self) -> None:
        for number, (place, config) in enumerate(self._journal.trials):
            self._results.trial(trial_name(number)).check_config(config)
            self._schedule.restore_trial(config, self._number(place))
        for result, outcome, stops in self._journal.results:
            self._schedule.restore_result(result, stops)
            self._take_complete(result, outcome)
            self._learn(result)
            self._errors += [(trial_name(result.trial), outcome.error)] if outcome.error else []
        for result, outcome, _ in self._journal.results:
            self._show_again(result, outcome)
        at_work = sum(map(self._epochs_at_work, range(len(self._schedule.trials))))
        if self._journal.results or at_work:
            done, *best = self._progress.summary()
            more = f", and {at_work:,} more of trials that were at work" if at_work else ""
            self._progress.say("\n  ".join([f"continuing: {done}{more}", *best]))
        self._set_best()
        self._passed = [trial for trial, entry in enumerate(self._schedule.trials) if entry.out]
        self._discard()
        self._tell_missing()

    def _show_again(self, result: Result, outcome: Outcome) -> None:
        """Have the progress count a result of an earlier run, all of which the schedule knows."""
        entry = self._schedule.trials[result.trial]
        rung = sum(rung.epochs < result.epochs for rung in self._plan[entry.bracket])
        goes_on = not entry.out and entry.reward_at(self._plan[entry.bracket][rung].epochs) is None
        job = trial_name(result.trial), entry.bracket, rung, result.epochs, entry.config
        ended = outcome.reward, outcome.error, outcome.hopeless
        # In a search that is extended, it may be one on the way to a rung.
        self._progress.restore_job(*job, *ended, is_done=not goes_on or result.trial in self._complete)

    def _epochs_at_work(self, number: int) -> int:
        """The epochs that a trial has had since its last result, and goes on from."""
        entry = self._schedule.trials[number]
        if entry.out or number in self._complete:
            return 0
        had = max(entry.rewards, default=0)
        try:
            return max(0, self._results.trial(trial_name(number)).resumable_epochs() - had)
        except StorageError:  # of a table that is damaged, which is told when the trial goes on
            return 0

    def _tell_missing(self) -> None:
        """Which trials that may go on have nothing to go on from, as in a copy that left checkpoints out."""
        entries = enumerate(self._schedule.trials)
        begun = [
            trial_name(number)
            for number, entry in entries
            if entry.rewards and not entry.out and number not in self._complete
        ]
        missing = [name for name in begun if not self._results.trial(name).is_resumable]
        if missing:
            listed = ", ".join(missing)
            self._progress.say(
                f"  checkpoints are missing of: {listed}; those that go on are trained from their beginning"
            )

    def _work(self) -> None:
        while True:
            while len(self._running) < self._executor.capacity and (job := self._next_job()):
                self._submit(job)
            self._discard()
            if not self._running:
                return
            wait(self._running, SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED)
            for future in [future for future in self._running if future.done()]:
                self._take(self._running.pop(future), future)
            self._check_time()

    def _finish_best(self, number: int) -> None:
        """Train the best trial to its full epochs, where it was stopped before and is not complete."""
        trial, entry = self._results.trial(trial_name(number)), self._schedule.trials[number]
        epochs = self._journal.settings["max_epochs"]
        done = trial.resumable_epochs()
        if done >= epochs or number in self._complete or -math.inf in entry.rewards.values():
            return
        self._progress.say(f"training: trial {trial.id}, the best of the search, to epoch {epochs}")
        self._progress.begin_training(trial.id, done, epochs)
        future = self._executor.submit(self._task(number, entry.config, epochs), self._on_epoch)
        while not wait([future], SECONDS_BETWEEN_LOOKS).done:
            self._check_time()
        try:
            error = future.result().told_error
        except WorkerDied as death:
            error = str(death)
        if error:
            self._progress.say(f"that failed ({error}); the best epoch before it is used")

    def _next_job(self) -> Job | None:
        if self._again:
            return self._again.pop(0)
        if self._alone or any(_key(job) in self._lonely for job in self._running.values()):
            return self._alone.pop(0) if not self._running else None
        known, was_exhausted = len(self._schedule.trials), self._schedule.exhausted
        job = self._schedule.ask()
        if self._schedule.exhausted and not was_exhausted:
            self._tell_exhausted()
        if job is not None and job.trial == known:
            place = Place(*divmod(job.bracket, self._round))
            self._journal.write_trial(job.trial, place, job.config)
        return job

    def _tell_exhausted(self) -> None:
        drawn = Counter(entry.bracket for entry in self._schedule.trials)
        plan = [[Rung(drawn[number], rungs[0].epochs), *rungs[1:]] for number, rungs in enumerate(self._plan)]
        self._progress.begin_search(plan)
        found = counted(len(self._schedule.trials), "configuration")
        self._progress.say(f"the space holds no more than {found}: the search ends")

    def _submit(self, job: Job) -> None:
        name = trial_name(job.trial)
        best = self._schedule.best
        floors = self._gains.floors(best[1], job.epochs) if self._gains and best else ()
        done = max(self._schedule.trials[job.trial].rewards, default=0)
        self._progress.begin_job(name, job.bracket, job.rung, done, job.epochs, job.config)
        if job.trial in self._complete:
            self._record(job, self._complete[job.trial])
            return
        task = self._task(job.trial, job.config, job.epochs, floors)
        self._running[self._executor.submit(task, self._on_epoch)] = job

    def _task(self, number: int, config: Document, epochs: int, floors: tuple[float, ...] = ()) -> Task:
        """A task in an attempt of its own.

        It begins here and not with the worker, so that one of an earlier run can begin none.
        """
        trial = self._results.trial(trial_name(number))
        trial.check_config(config)
        return Task(trial.id, config, epochs, floors, trial.begin_attempt())

    def _on_epoch(self, name: str, row: Row) -> None:
        self._progress.epoch(name, row)
        if threading.current_thread() is threading.main_thread():
            self._check_time()

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise BudgetSpent

    def _take(self, job: Job, future: "Future[Outcome]") -> None:
        """Record what came of a job, or have it done again."""
        try:
            outcome = future.result()
        except WorkerDied as death:
            if (given_up := self._lost(job, death)) is None:
                return
            outcome = given_up
        if outcome.out_of_memory and _key(job) not in self._lonely:
            self._lonely.add(_key(job))
            self._alone.append(job)
            return
        self._record(job, outcome)

    def _lost(self, job: Job, death: WorkerDied) -> Outcome | None:
        """What comes of a job whose worker died; None where it is done again."""
        at_start = isinstance(death, KilledAtStart)
        self._deaths[at_start, _key(job)] += 1
        if self._deaths[at_start, _key(job)] < ATTEMPTS:
            self._again.append(job)
            first = without_credentials(first_line(str(death)))
            self._progress.say(
                f"  trial {trial_name(job.trial)} lost its worker and goes on in another: {first}"
            )
            return None
        if at_start:
            raise HelixbandError(f"{death}\n(so {ATTEMPTS} times for trial {trial_name(job.trial)})")
        return self._given_up(job, death)

    def _given_up(self, job: Job, death: WorkerDied) -> Outcome:
        trial = self._results.trial(trial_name(job.trial))
        text = without_credentials(f"the worker died {ATTEMPTS} times in this trial, at last: {death}")
        trial.begin_attempt()
        trial.write_error(f"{text}\n")
        return Outcome(-math.inf, 0, trial.epochs(), text, ended=Ended.ERROR)

    def _record(self, job: Job, outcome: Outcome) -> None:
        best = self._schedule.best
        result = Result(job.trial, job.epochs, outcome.reward)
        stops = self._schedule.tell(*result, hopeless=outcome.hopeless)
        self._journal.write_result(result, outcome, stops)
        self._take_complete(result, outcome)
        self._learn(result)
        self._set_best()
        passed = [best[0]] if best and best != self._schedule.best else []
        self._passed += [trial for trial in [job.trial, *stops, *passed] if self._schedule.trials[trial].out]
        self._end_job(result, outcome)
        if self._schedule.best is None and len(self._errors) == FIRST_TRIALS:
            raise self._all_failed()

    def _suggest(self, trial: int, results: Sequence[Result]) -> Document | None:
        if trial < len(self._tries):
            return self._tries[trial]
        trials, evidence = self._schedule.trials, Evidence()
        for result in results:
            evidence.add(result.trial, trials[result.trial].config, result.epochs, result.reward)
        told = {result.trial for result in results}
        pending = [entry.config for number, entry in enumerate(trials) if number not in told]
        return self._sampler.suggest(trial, evidence, pending)

    def _take_complete(self, result: Result, outcome: Outcome) -> None:
        if outcome.complete:
            self._complete[result.trial] = outcome

    def _learn(self, result: Result) -> None:
        if self._gains is not None and result.reward > -math.inf:
            self._gains.add(self._results.trial(trial_name(result.trial)).rewards()[: result.epochs])

    def _set_best(self) -> None:
        if self._schedule.best is not None:
            self._results.set_best(self._results.trial(trial_name(self._schedule.best[0])))

    def _discard(self) -> None:
        """Delete the checkpoints of trials that are out of the race, but for the best.

        Workers are given their next jobs first: to delete takes longer than to record a result.
        """
        best, passed = self._schedule.best, self._passed
        self._passed = []
        for trial in passed:
            if best is None or trial != best[0]:
                self._results.trial(trial_name(trial)).discard_checkpoints()

    def _end_job(self, result: Result, outcome: Outcome) -> None:
        name, config = trial_name(result.trial), self._schedule.trials[result.trial].config
        self._progress.end_job(name, config, outcome.reward, outcome.told_error, outcome.hopeless)
        if outcome.error:
            self._errors.append((name, outcome.error))

    def _number(self, place: Place) -> int:
        """The bracket's number in the plan."""
        return place.round * self._round + place.bracket

    def _all_failed(self) -> TrainingError:
        name, error = self._errors[0]
        return TrainingError(
            f"no trial has succeeded of {len(self._errors)}; trial {name} failed with: {error}\n"
            f"See {self._results.trial(name).error_file}; mend the definition or its ranges, and give the "
            "same command again"
        )


def _key(job: Job) -> Key:
    return job.trial, job.epochs
