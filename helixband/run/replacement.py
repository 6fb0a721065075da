"""A definition that takes the place of the one that results were made with, as --force has it."""

from collections.abc import Sequence

from helixband.files import exists
from helixband.results import checkpoints
from helixband.results.directory import Trial
from helixband.run.context import Context, Stage
from helixband.search.executors.trial import Trainer


class Replacement(Stage):
    """A definition and environment that may be others than the recorded ones; if not, nothing happens.

    `going_on` are the trials with epochs that the run may train on.
    """

    def __init__(self, context: Context, trainer: Trainer, going_on: Sequence[Trial]) -> None:
        super().__init__(context)
        self._trainer, self._going_on = trainer, going_on
        self._left: list[str] = []

    def check(self) -> None:
        """Load what was trained into models of the definition; raises `StorageError` where that fails.

        Raises `ResultsMismatch` where a training cannot go on with its optimizer, scheduler and --epoch.
        """
        if not self.run_file.changes(self.definition):
            return
        best, args = self.results.best_trial(), self.args
        if best is not None and exists(best.best_checkpoint):
            self._trainer.trained_model(best, best.config() or {})
        for trial in self._going_on:
            train, _ = self.definition.training_data(args.data, args.batch_size)
            model = self._trainer.new_model(trial, trial.config() or {}, train)
            last, where = (
                checkpoints.load(trial.last_checkpoint, trial.id),
                f"the last state of trial {trial.id}",
            )
            model.engine.state.restore(model, last, train, where)
            self._left += [each for each in model.engine.state.differences(last) if each not in self._left]

    def accept(self, searches: bool) -> None:
        """Go on with it, now that it is known to fit; `searches` says whether a search has more to train."""
        changes = self.run_file.changes(self.definition)
        self.run_file.accept(self.definition)  # if unchanged, where a kill left the copy of another one
        if not changes:
            return
        for change in changes:
            self.progress.say(f"--force: {change}")
        self._tell(searches)

    def _tell(self, searches: bool) -> None:
        """What a change has an effect on, and what not."""
        args, say = self.args, self.progress.say
        say("  what is trained stays as it is: a change of get_config, Model or data does not touch it")
        anew = [
            f"trial {trial.id} from epoch {trial.trained_epochs() + 1} on" for trial in self._going_on[:1]
        ]
        if searches:
            anew = ["what the search has still to train"]
        anew += ["the test"] * args.eval + ["the predictions"] * bool(args.predict)
        say(f"  done by this version: {', '.join(anew) or 'nothing yet'}")
        for difference in self._left:
            say(f"  {difference}: what was begun goes on with what it had")
        if not (args.eval and args.predict):
            say(
                "  earlier tests and predictions stay those of the version before until -e and -p repeat them"
            )
