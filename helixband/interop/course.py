"""A training by a Trainer under way: where it goes on, its rows and states, and how it ends."""

import contextlib
import math
import time
import warnings
from collections.abc import Callable
from typing import Any

from base_model import BaseModel
from helixband.errors import DefinitionError, HelixbandWarning, ResultsMismatch, TrainingError
from helixband.nested import like
from helixband.results import checkpoints
from helixband.results.directory import Row, Trial
from helixband.training.ended import Ended
from helixband.training.keeper import Keeper
from helixband.training.processes import Processes
from helixband.training.state import use_best
from helixband.training.stored import copied, revived

TOTALS = "totals"
"""The part of a state that has the totals of the training which the module has read, by name."""
HYPER_PARAMETERS, OF_LIGHTNING = "hyper_parameters", ("pytorch-lightning_version", "hparams_name")
OF_OBJECTS = (HYPER_PARAMETERS, "datamodule_hyper_parameters")
"""The parts of a state that may hold any object, and that no training is put back from."""


class Course:
    """A training under way: from which state it goes on, its rows and states, and how it ends."""

    def __init__(
        self,
        model: BaseModel,
        epochs: int,
        total: int,
        trial: Trial | None,
        on_epoch: Callable[[Row], None] | None,
    ) -> None:
        self.model, self.epochs, self.total, self.trial, self.on_epoch = model, epochs, total, trial, on_epoch
        self.record = model.engine.record
        self.keeper = Keeper(trial, model.args.keep_checkpoints)
        self.start: dict[str, Any] | None = None
        self._began = time.monotonic()
        self._row: Row | None = None
        self._totals: dict[str, float] = {}
        self._stops = False

    def begin(self) -> None:
        """Go on from the last state, in memory or of the trial, where there is one."""
        record, trial = self.record, self.trial
        record.ended = None
        if record.last is None and trial is not None and trial.is_resumable:
            record.last = checkpoints.load(trial.last_checkpoint, trial.id)
            record.best = checkpoints.load(trial.best_checkpoint, trial.id)
            record.best_epoch, record.best_reward = record.best["epoch"], record.best["reward"]
        if record.last is not None:
            where = f"the last state of trial {trial.id}" if trial else "the last state"
            self._go_on(record.last, where)
            if record.last.get("ended"):
                record.ended = Ended(record.last["ended"])
        if record.epoch >= self.epochs:
            record.ended = Ended.EPOCHS
        elif self._is_hopeless():
            record.ended = Ended.HOPELESS

    def share(self, processes: Processes) -> None:
        """Have all processes of the training go on from the state that process 0 has; they begin now."""
        self.record.last = processes.from_first(self.record.last)
        if processes.rank and self.record.last is not None:
            self._go_on(self.record.last, "the state of process 0")
        self._began = time.monotonic()

    def _go_on(self, last: dict[str, Any], where: str) -> None:
        record = self.record
        self.model.engine.state.use(self.model, last, where)
        self.start = revived(last)
        record.epoch, record.steps = last["epoch"], last["steps"]
        record.history, record.seconds = list(last["history"]), list(last["seconds"])
        self.keeper.go_on(last)

    def plan_by(self, name: str, value: float) -> None:
        """Note a total of the Trainer's that the module has read, which its schedules may be made for.

        Raises `ResultsMismatch` where it was another one when the training began.
        """
        was = (self.start or {}).get(TOTALS, {}).get(name, value)
        if was != value:
            begun = f"trial {self.trial.id}" if self.trial is not None else "the training"
            raise ResultsMismatch(
                f"{begun} was begun with trainer.{name} = {was}, and its schedule may depend on it. It "
                f"cannot go on with {value}: give --epoch and what an epoch has as they were, or another "
                "directory with --result"
            )
        is_first, self._totals[name] = not self._totals, value
        if is_first and self.trial is not None and (self.start is None or self.trial.plan() is None):
            steps = getattr(self.model.args, "steps_per_epoch", None)
            self.trial.write_plan({"epochs": self.total, "steps_per_epoch": steps})

    def close(self, row: Row) -> bool:
        """Take an epoch's row; whether it is the last one."""
        record = self.record
        record.epoch = int(row["epoch"])
        reward = -math.inf if math.isnan(row["reward"]) else row["reward"]
        self._is_best = reward > record.best_reward or record.best_epoch == 0
        if self._is_best:
            record.best_epoch, record.best_reward = record.epoch, reward
        record.history.append(row)
        self._row = row
        self._stops = record.epoch >= self.epochs or self._is_hopeless()
        return self._stops

    def keep(self, state: dict[str, Any]) -> None:
        """Take the state after the epoch that was closed, and tell its row."""
        record, row = self.record, self._row
        assert row is not None
        now = time.monotonic()
        record.seconds.append(now - self._began)
        self._began = now
        record.steps = int(state["global_step"])
        counts = {"epoch": record.epoch, "steps": record.steps, TOTALS: dict(self._totals)}
        content = {**self._plain(state), **counts}
        record.last = {**content, "history": list(record.history), "seconds": list(record.seconds)}
        if self._is_best:
            names = ("state_dict", HYPER_PARAMETERS, *OF_LIGHTNING, "global_step", "module", "epoch", "steps")
            kept = {name: content[name] for name in names if name in content}
            record.best = {**kept, "reward": record.best_reward}
        self.keeper.keep(record.last, record.best if self._is_best else None)
        if self.on_epoch is not None:
            self.on_epoch(row)

    def end(self) -> None:
        """Say how it ended, and give the module its best weights."""
        record = self.record
        if record.ended is None:
            if record.epoch >= self.epochs:
                record.ended = Ended.EPOCHS
            elif self._stops:
                record.ended = Ended.HOPELESS
            elif record.last is not None:  # a callback of the definition has stopped it
                record.ended = Ended.PATIENCE
                record.last = {**record.last, "ended": str(Ended.PATIENCE)}
                self.keeper.end(record.last)
                self.keeper.flush()
            else:
                raise TrainingError(
                    "the Trainer ended before the first epoch was over; it had no batch to train on"
                )
        if record.ended is not Ended.HOPELESS and record.best is not None:
            use_best(self.model, record.best)

    def _is_hopeless(self) -> bool:
        asks = self.model.engine.is_hopeless
        return asks is not None and self.record.epoch > 0 and asks(self.record.epoch, self.record.best_reward)

    def _plain(self, state: dict[str, Any]) -> dict[str, Any]:
        """A state as a checkpoint holds it, without the hyperparameters that are objects."""
        content = {name: value for name, value in state.items() if not name.endswith("hparams_type")}
        given = {name: content.pop(name) for name in OF_OBJECTS if name in content}
        kept = {name: self._storable(dict(values)) for name, values in given.items()}
        if HYPER_PARAMETERS in kept:
            self._tell_left_out(given[HYPER_PARAMETERS].keys() - kept[HYPER_PARAMETERS].keys())
        plain: dict[str, Any] = copied(without_omegaconf(content), "the training")
        return {**plain, **kept}

    @staticmethod
    def _storable(values: dict[str, Any]) -> dict[str, Any]:
        """Those of the values that a checkpoint can hold."""
        found = {}
        for name, value in values.items():
            with contextlib.suppress(DefinitionError):
                found[name] = copied(without_omegaconf(value), name)
        return found

    def _tell_left_out(self, names: set[str]) -> None:
        if names and self.record.epoch == 1:
            warnings.warn(
                f"the hyperparameters {', '.join(sorted(names))} of the module are objects, which a "
                "checkpoint does not hold: load_from_checkpoint needs them as arguments",
                HelixbandWarning,
                stacklevel=2,
            )


def without_omegaconf(nested: Any) -> Any:
    """A state with plain containers in the place of those of OmegaConf, as an optimizer's `betas` may be."""
    if type(nested).__module__.startswith("omegaconf"):
        from omegaconf import OmegaConf

        return OmegaConf.to_container(nested, resolve=True)
    if isinstance(nested, dict):
        return {key: without_omegaconf(value) for key, value in nested.items()}
    if isinstance(nested, list | tuple):
        values = [without_omegaconf(value) for value in nested]
        return like(nested, values) if isinstance(nested, tuple) else values
    return nested
