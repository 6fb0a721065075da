"""What trainings begin with, if not with random weights: the weights of a file, or the state of a training.

Either is read once. The weights are then kept as start.pt in the result directory, and a state becomes that
of the trial. So their file is not needed to go on; where it is still there, it has to be the same.
"""

import contextlib
import math
import os
from argparse import Namespace
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from helixband.errors import ResultsMismatch, StorageError, UsageError, counted
from helixband.files import exists, remove_file
from helixband.results import checkpoints
from helixband.results.directory import Trial
from helixband.run.context import Context, Stage
from helixband.run.hyperparameters import agrees, config_beside, part_of, single_configuration
from helixband.run.runfile import file_digest
from helixband.search.executors.trial import Trainer
from helixband.training.keeper import table
from helixband.training.start import FLAGS, RESUME, WEIGHTS, Match, Origin, Start
from helixband.training.weights import read_weights

_ANOTHER_FILE = (
    "the file is another one than that with which {there} was begun; put that back, or choose another "
    "directory with --result. To go on, the flag is not needed"
)
_STATE = {"network", "optimizer", "generator", "generator_random", "random", "history", "epoch", "steps"}
"""What a training goes on from has these."""
_STATE_OF_LIGHTNING = {
    "state_dict",
    "optimizer_states",
    "lr_schedulers",
    "loops",
    "history",
    "epoch",
    "steps",
}
"""What that of a LightningModule has."""


class Starting(Stage):
    """What new trainings begin with: `start`, weights for each new trial, or a state for the single one.

    `trial` is the one that has epochs to go without a search, or None.
    """

    def __init__(self, context: Context, trial: Trial | None) -> None:
        super().__init__(context)
        self.notes: list[str] = []
        self.start: Start | None = None
        self._trial = trial
        self._is_read = False
        self._told: list[Match] = []
        self._state: _State | None = None
        given, recorded = _given(self.args), self.run_file.start
        if recorded and recorded["flag"] == WEIGHTS:
            recorded = None  # nothing is trained from these
        self._recorded = Origin(**recorded) if recorded else None
        if given is not None:
            given = self._checked(given) if self.run_file.binding else self._of_a_kill(given)
        self.origin = given or (self._recorded if self.run_file.binding else None)
        if self.origin is None and self._recorded is not None:
            self.notes.append(
                f"an earlier run here began with {self._recorded}, and was ended before its first epoch was "
                "kept; this one begins without: give it again, if you mean it"
            )
        is_new = trial is not None and not trial.is_resumable
        if self.origin is None or not (self.args.hyper or is_new):
            return
        if self.origin.flag != RESUME:
            self.start = self._weights(self.origin, is_given=given is not None)
            self.start.on_match = self._tell
        elif trial is not None and is_new:
            if given is None:
                raise UsageError(
                    f"{trial.path} has no checkpoints, and was begun with {self.origin}; give that again"
                )
            self._state = self._read_state(given)

    def fixed(self, config: dict[str, Any] | None) -> dict[str, Any] | None:
        """The configuration that --config and --set give, or else that of the state to go on from."""
        if (state := self._state) is None:
            return config
        if config is None and state.config is None:
            raise UsageError(
                f"{self.origin}: it is not in the folder of a trial with a config.json; give the "
                "configuration that it was trained with by --config or --set"
            )
        if state.config is None:
            state.config = single_configuration(self.definition, config, self.args.seed)
        if config is not None and not agrees(self.definition, state.config, config):
            raise ResultsMismatch(
                f"{self.origin} was trained with the configuration "
                f"{part_of(state.config, config, self.definition)}, not {config}; leave --config, --set and "
                "the flags of hyperparameters out"
            )
        return state.config

    def check(self, trainer: Trainer) -> None:
        """Load a state into a model that is thrown away; raises `UsageError` where it does not fit.

        Raises `ResultsMismatch` where it was begun with other settings of the optimizer or the scheduler.
        """
        if (state := self._state) is None:
            return
        train, _ = self.definition.training_data(self.args.data, self.args.batch_size)
        model = trainer.passing_model(state.config or {}, train)
        try:
            model.engine.state.restore(model, state.last, train, str(self.origin))
        except StorageError as error:
            raise UsageError(
                f"{error}. A state goes on with the definition and the configuration that it was begun with; "
                "for its weights alone, give --load-checkpoint"
            ) from error
        state.plan = trainer.plan(train) if model.engine.asked_total else None
        if state.best is None:
            reward, average = state.last["history"][-1]["reward"], model.engine.average
            with average.in_use() if average is not None else contextlib.nullcontext():
                weights = model.engine.state.weights(model)
            state.best = {
                "epoch": state.last["epoch"],
                "steps": state.last["steps"],
                "reward": -math.inf if math.isnan(reward) else reward,
                **weights,
            }
            self.progress.say(
                f"note: the best checkpoint is not beside {self.origin}; the best epoch is chosen from "
                f"epoch {state.last['epoch']} on"
            )

    def keep(self) -> None:
        """Store the weights, and what a training begins with, before the first one."""
        file = self.results.start_file
        if self.start is None and not self.run_file.binding and exists(file):
            remove_file(file)  # of a run that trained nothing
        elif self.start is not None and self._is_read:
            self.start.store(self.results)
        if not self.run_file.binding:
            self.run_file.record_start(asdict(self.origin) if self.origin else None)

    def install(self) -> None:
        """Make the state that of the trial, which then goes on from it."""
        state, trial = self._state, self._trial
        if state is None or trial is None or state.best is None:
            return
        trial.begin_attempt()
        trial.write_config(state.config or {})
        if state.plan is not None:
            trial.write_plan(state.plan)
        with trial.writing():
            states = {trial.best_checkpoint: state.best, trial.last_checkpoint: state.last}
            checkpoints.save_together({file: {**kept, "trial": trial.id} for file, kept in states.items()})
        trial.write_history(table(state.last), state.last.get("ended"), state.last.get("ways"))
        self._state = None
        told = f"  it goes on from epoch {state.last['epoch']} of {self.origin}"
        ended = state.last.get("ended")
        self.progress.say(f"{told}, where it ended by itself ({ended}): it is complete" if ended else told)

    # The file.

    def _checked(self, given: Origin) -> Origin:
        """What is given, held against what is recorded; raises `ResultsMismatch` where they differ."""
        there, recorded = self.results.path, self._recorded
        if recorded is None:
            raise ResultsMismatch(
                f"{given}: what {there} has was begun without it; choose another directory with --result"
            )
        if (given.flag, given.part) != (recorded.flag, recorded.part):
            raise ResultsMismatch(
                f"{there} was begun with {recorded}, not {given}; give the same, or choose another directory "
                "with --result"
            )
        return given.as_recorded(recorded, _ANOTHER_FILE.format(there=there))

    def _of_a_kill(self, given: Origin) -> Origin:
        """What is given; with its digest, where a run that was killed early has recorded the same."""
        recorded = self._recorded
        return recorded if recorded is not None and replace(recorded, sha256="") == given else given

    def _weights(self, origin: Origin, is_given: bool) -> Start:
        """The weights as they are kept, or else those of the file."""
        if self._is_kept(origin):
            if not is_given:
                self.notes.append(f"new trials begin with the weights of {origin}, as recorded")
            stored = Start.stored(self.results)
            assert stored is not None
            return stored
        read = read_weights(origin.file, f"{origin.flag} {origin.file}", self.args.trust_checkpoint)
        if self.run_file.binding and read.sha256 != origin.sha256:
            raise ResultsMismatch(f"{origin}: {_ANOTHER_FILE.format(there=self.results.path)}")
        self.origin, self._is_read = replace(origin, sha256=read.sha256), True
        size = counted(len(read.tensors), "tensor")
        self.notes.append(f"{origin.flag}: {origin.file} is {read.kind} with {size}")
        return Start(self.origin, lambda: read.tensors)

    def _is_kept(self, origin: Origin) -> bool:
        """Whether the weights are to be taken from the result directory."""
        there, has_file = exists(self.results.start_file), exists(origin.file)
        if self.run_file.binding:
            return there or not has_file
        return there and not has_file and origin == self._recorded

    def _tell(self, match: Match) -> None:
        """Say what matched, once for all networks with the same names."""
        if match not in self._told and self.origin is not None:
            self._told.append(match)
            for line in match.lines(self.origin):
                self.progress.say(line)

    # The state of a training.

    def _read_state(self, origin: Origin) -> "_State":
        """The whole state in a checkpoint; raises `UsageError` where there is none."""
        path = Path(origin.file)
        if not path.is_file():
            what = "is a directory; give the last.pt of a trial" if path.is_dir() else "does not exist"
            raise UsageError(f"{origin} {what}")
        self.origin = replace(origin, sha256=file_digest(path))
        try:
            last = checkpoints.load(path)
        except StorageError as error:
            raise UsageError(
                f"{RESUME}: {error}. It takes the last.pt of a trial; for the weights of another file, give "
                "--load-checkpoint"
            ) from error
        needed = _STATE_OF_LIGHTNING if "state_dict" in last else _STATE
        if missing := sorted(needed - last.keys()):
            raise UsageError(
                f"{origin} has no whole state, as the last.pt of a trial has one: it lacks "
                f"{', '.join(missing)}. For its weights alone, give --load-checkpoint"
            )
        if last["epoch"] >= self.args.epoch:
            raise UsageError(
                f"{origin} has had {last['epoch']} epochs; give --epoch {last['epoch'] + 1} or more"
            )
        best = path.with_name("best.pt")
        return _State(
            last=last,
            best=_best_of(last, checkpoints.load(best)) if exists(best) else None,
            config=config_beside(path),
        )


@dataclass
class _State:
    """The state of a training, and what belongs to it.

    `best` is the checkpoint of its best epoch, and `plan` what its schedules are made for, where that counts.
    """

    last: dict[str, Any]
    best: dict[str, Any] | None = None
    config: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None


def _best_of(last: dict[str, Any], best: dict[str, Any]) -> dict[str, Any] | None:
    """The best checkpoint, if it is of an epoch that the state has had."""
    epoch = best.get("epoch", 0)
    if not 0 < epoch <= len(last["history"]):
        return None
    reward = last["history"][epoch - 1]["reward"]
    return best if best["reward"] == (-math.inf if math.isnan(reward) else reward) else None


def _given(args: Namespace) -> Origin | None:
    """What the flags give; raises `UsageError` where they do not go together."""
    given = [flag for flag in FLAGS if getattr(args, flag) is not None]
    names = [f"--{flag.replace('_', '-')}" for flag in given]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(names)}: a training begins with one of them; leave the others out")
    if args.trust_checkpoint and args.weights is None and (not given or names == [RESUME]):
        raise UsageError(
            f"--trust-checkpoint: for --load-checkpoint and --load-encoder-from alone, and {WEIGHTS}; leave "
            "it out"
        )
    if not given:
        return None
    if not args.train:
        as_they_are = "" if names == [RESUME] else f"; {WEIGHTS} FILE uses weights as they are"
        raise UsageError(
            f"{names[0]}: for a training alone; add --train or --hyper, or leave it out{as_they_are}"
        )
    if args.hyper and names == [RESUME]:
        raise UsageError(
            f"{RESUME}: for a single training alone; leave out --hyper. To begin each trial with the weights "
            "of the file, give --load-checkpoint"
        )
    text, part = getattr(args, given[0]), ""
    if names == ["--load-encoder-from"] and not os.path.exists(text) and ":" in os.path.basename(text):
        text, _, part = text.rpartition(":")
    return Origin.given(names[0], text, part.removesuffix("."))
