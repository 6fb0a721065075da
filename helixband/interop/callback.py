"""The one callback of ours in a Trainer: seeds by epoch, rows, the reward, the end of a rung, states.

An epoch is over for Lightning only after its schedulers were stepped, which is after all hooks of its end.
So its row is made at its end, and its state is taken where the next one begins, or the training ends.
"""

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from helixband import interruption
from helixband.errors import DefinitionError, HelixbandWarning
from helixband.interop.promises import Promises
from helixband.results.directory import Row
from helixband.training.feed import to_device
from helixband.training.parts.schedule import learning_rate
from helixband.training.processes import Processes
from helixband.training.stored import copied

MODULE, OTHERS = "module", "others"
"""The parts of a state that have what no checkpoint of Lightning has: of process 0, and of the others."""
STATE = "helixband:state"
"""The place of the state under way, in memory."""
BY_DEFAULT = ("val_loss", "val/loss")
"""The metric that is minimised where a module names none."""


class Goal:
    """What a training maximises: `metric`, a name that the module logs, or minus that for the mode "min"."""

    def __init__(self, metric: str | None, mode: str | None) -> None:
        if mode not in (None, "min", "max"):
            raise DefinitionError(f"mode is {mode!r}; it has to be 'min' or 'max'")
        self.metric, self.mode = metric, mode

    def reward(self, logged: Mapping[str, float], may_lack: bool = False, why: str = "") -> float:
        """The reward of an epoch; NaN where it `may_lack` the metric.

        Raises `DefinitionError` where the metric was not logged, with the names of those that were, and
        with `why` where that is known.
        """
        name = self.metric or next((name for name in BY_DEFAULT if name in logged), None)
        if name is None or name not in logged:
            if may_lack:
                return math.nan
            wanted = (
                f"optimized_metric is {name!r}, which"
                if name
                else "there is no optimized_metric, and val_loss"
            )
            advice = why or (
                "Log it with self.log(…, on_epoch=True), or give the module (or def.py) an attribute "
                "optimized_metric, and mode = 'min' or 'max'"
            )
            raise DefinitionError(
                f"{wanted} was not logged in the epoch; logged were: {', '.join(logged) or 'none'}. {advice}"
            )
        minimised = self.mode == "min" or (self.mode is None and name.endswith("loss"))
        return -logged[name] if minimised else logged[name]


class States:
    """A CheckpointIO that gives and takes the state of a training in memory; files are the package's own."""

    held: dict[str, Any] | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Keep a state, or write a file of the user's callbacks."""
        if str(path) == STATE:
            self.held = checkpoint
        else:
            super().save_checkpoint(checkpoint, path, storage_options)  # type: ignore[misc]

    def load_checkpoint(self, path: Any, *arguments: Any, **keywords: Any) -> Any:
        """The state that is held, or that of a file."""
        if str(path) == STATE:
            return self.held
        return super().load_checkpoint(path, *arguments, **keywords)  # type: ignore[misc]


class Recorder:
    """The callback. `epochs`: where this training stops. `set_order(epoch)` sets that of a generator of ours.

    `close(epoch)` takes the row of an epoch and says whether to stop; `keep(state)` takes the state after it.
    """

    def __init__(
        self,
        goal: Goal,
        seed: int,
        states: States,
        close: Callable[[Row], bool],
        keep: Callable[[dict[str, Any]], None],
        set_order: Callable[[int], None] = lambda epoch: None,
        strict: bool = True,
        rank: int = 0,
    ) -> None:
        self.goal, self.states, self.promises = goal, states, Promises(seed, rank)
        self._close, self._keep, self._set_order = close, keep, set_order
        self._begun, self._strict = 0, strict
        self._is_open = False
        self._has_loss = self._is_validated = self._had_reward = False
        self._rank = rank
        self._together: Processes | None = None
        self._metrics: dict[str, Any] = {}
        self.raised: BaseException | None = None
        """What ended the Trainer's work."""

    def go_on(self, epoch: int, state: dict[str, Any] | None, together: Processes | None) -> None:
        """Begin after so many epochs, with the state that was kept then; `together` are several processes."""
        self._begun, self._had_reward, self.states.held = epoch, epoch > 0, state
        self._together = together

    @property
    def state_key(self) -> str:
        """The name of its state in checkpoints, of which it has none."""
        return "Helixband"

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        """Come first among the callbacks, so that an epoch is kept before others begin the next."""
        trainer.callbacks.remove(self)
        trainer.callbacks.insert(0, self)
        self.promises.seed_start()

    def on_fit_start(self, trainer: Any, module: Any) -> None:
        """Set the order of the first epoch: an iterator is made before it begins."""
        self._set_order(self._begun)
        self.promises.seed_start()

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Begin an epoch anew, with a new iterator: a state is always of between two epochs."""
        trainer.fit_loop._restarting = False  # as a property, it is always true where max_steps are given
        trainer.fit_loop.epoch_loop.restarting = False
        trainer.fit_loop._resuming_from_checkpoint = False
        if self._strict:
            loaders = {"training": trainer.train_dataloader, "validation": trainer.val_dataloaders}
            self.promises.begin(module, trainer.datamodule, loaders, trainer.callbacks)
        if self.states.held is not None:
            put_kept(module, self.states.held[MODULE])
            others = self.states.held.get(OTHERS, [])
            if 0 < self._rank <= len(others):
                put_kept(module, others[self._rank - 1])
            self.states.held = None

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        """Keep the epoch before, and set the random numbers of this one."""
        self._keep_epoch(trainer, module)
        self._has_loss = self._is_validated = False
        epoch = trainer.current_epoch
        if epoch == self._begun + 1:
            self.promises.check(module)
        self._set_order(epoch)
        self.promises.seed(epoch)
        if epoch == 0 and self.promises.holds_sources:  # its iterator was made before they were seeded
            iter(trainer.fit_loop._data_fetcher)

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """Set the random numbers of the steps, which are after what the making of an iterator drew."""
        interruption.check()
        if batch_idx == 0:
            self.promises.seed(trainer.current_epoch, 1)

    def on_before_backward(self, trainer: Any, module: Any, loss: Any) -> None:
        """Raise `DefinitionError` where a loss is no single number."""
        if loss.numel() != 1:
            raise DefinitionError(
                f"{type(module).__name__}.training_step returned a loss of the shape {tuple(loss.shape)}; it "
                "has to be one number: take its mean"
            )

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Note that there was a loss."""
        self._has_loss = self._has_loss or bool(outputs)

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Note that there was a validation."""
        self._is_validated = True

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """The row of the epoch; raises `DefinitionError` where it has no reward, or no step had a loss."""
        epoch = trainer.current_epoch + 1
        if self._strict and module.automatic_optimization and not self._has_loss:
            raise DefinitionError(
                f"{type(module).__name__}.training_step returned no loss in any step of epoch {epoch}; it "
                "has to return a scalar tensor, or a dict with 'loss'. Where it optimizes by itself, set "
                "self.automatic_optimization = False"
            )
        self._is_open = True
        logged = self._logged(trainer)  # by all processes, as metrics are put together here
        is_last = self._rank == 0 and self._close(self._row(trainer, epoch, logged))
        if trainer.strategy.broadcast(is_last):  # what process 0 decides, if there are several
            trainer.should_stop = True  # and no least number of epochs or steps holds against it
            trainer.fit_loop.min_epochs, trainer.fit_loop.epoch_loop.min_steps = 0, None

    def _row(self, trainer: Any, epoch: int, logged: dict[str, float]) -> Row:
        reward = self._reward(trainer, logged)
        own = {"epoch": epoch, "reward": reward, **learning_rates(trainer.optimizers)}
        self._tell_hidden(epoch, sorted(logged.keys() & {*own, "seconds"}))
        told = {name: value for name, value in logged.items() if name not in {*own, "seconds"}}
        return {"epoch": epoch, **told, **own}

    def on_train_end(self, trainer: Any, module: Any) -> None:
        """Keep the last epoch."""
        self._keep_epoch(trainer, module)

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        """Note what a Trainer may turn into its own exit."""
        self.raised = exception

    def _logged(self, trainer: Any) -> dict[str, float]:
        """What was logged in the epoch: a Trainer also holds what was logged before and not since."""
        before, self._metrics = self._metrics, dict(trainer.callback_metrics)
        return {name: float(value) for name, value in self._metrics.items() if before.get(name) is not value}

    def _tell_hidden(self, epoch: int, names: list[str]) -> None:
        if names and epoch == self._begun + 1 and self._strict:
            warnings.warn(
                f"the module logs {', '.join(names)}, of which train_results.csv has a column of its own: "
                "what is logged is not in it; log it by another name",
                HelixbandWarning,
                stacklevel=2,
            )

    def _reward(self, trainer: Any, logged: dict[str, float]) -> float:
        """That of an epoch; NaN for one without the metric that others have."""
        epoch, every = trainer.current_epoch + 1, trainer.check_val_every_n_epoch
        is_between = not self._is_validated and not (every and epoch % every == 0)
        why = "" if self._is_validated else f"There was no validation in epoch {epoch}"
        if why and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            steps = f"{trainer.fit_loop.batch_idx + 1} of {trainer.num_training_batches} batches"
            why += f", which ended after {steps}: give more max_steps or max_time"
        elif why:
            why += ": the validation set has no batch, or limit_val_batches is 0"
        reward = self.goal.reward(logged, self._had_reward or is_between, why)
        self._had_reward = self._had_reward or not math.isnan(reward)
        return reward

    def _keep_epoch(self, trainer: Any, module: Any) -> None:
        if not self._is_open:
            return
        self._is_open = False
        trainer.save_checkpoint(STATE)
        held, self.states.held = self.states.held, None
        kept = self._kept(module)
        if held is not None:  # process 0 of several has it
            self._keep({**held, "loops": between_epochs(held["loops"]), **kept})

    def _kept(self, module: Any) -> dict[str, Any]:
        """What no checkpoint of Lightning has, of this process and of the others."""
        if self._together is None:
            return {MODULE: kept_of(module)}
        buffers = dict(module.named_buffers()) if self._rank else {}
        mine = copied({**kept_of(module), "buffers": buffers}, type(module).__name__)
        kept, *others = self._together.all(mine)
        return {MODULE: kept, OTHERS: others}


def learning_rates(optimizers: list[Any]) -> dict[str, float]:
    """The learning rates by column: `lr` and `lr_<group>` of one optimizer, of others `lr_<optimizer>`.

    >>> learning_rates([])
    {}
    """
    if len(optimizers) == 1:
        return learning_rate(optimizers[0])
    found = [learning_rate(optimizer).get("lr", math.nan) for optimizer in optimizers]
    return {f"lr_{number}" if number else "lr": rate for number, rate in enumerate(found)}


def between_epochs(loops: dict[str, Any]) -> dict[str, Any]:
    """The progress of loops as it is after an epoch and before the next: nothing is begun."""
    fit = dict(loops["fit_loop"])
    progress = fit["epoch_progress"]
    fit["epoch_progress"] = {
        which: dict.fromkeys(counts, counts["processed"]) for which, counts in progress.items()
    }
    return {**loops, "fit_loop": fit}


def kept_of(module: Any) -> dict[str, Any]:
    """What of a module no checkpoint of Lightning has.

    Numbers on it, states of its torchmetrics, which parameters are frozen, and which parts are in eval mode.
    """
    numbers = {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and name != "training" and type(value) in (bool, int, float, str)
    }
    metrics = {
        name: {"state": dict(part.metric_state), "updates": part._update_count}
        for name, part in module.named_modules()
        if is_metric(part)
    }
    frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
    evaluating = [name for name, part in module.named_modules() if not part.training]
    return {"numbers": numbers, "metrics": metrics, "frozen": frozen, "evaluating": evaluating}


def put_kept(module: Any, kept: Mapping[str, Any]) -> None:
    """Put back what `kept_of` gave, and buffers that are there."""
    for name, buffer in module.named_buffers():
        if name in kept.get("buffers", {}):
            buffer.copy_(kept["buffers"][name])
    for name, value in kept["numbers"].items():
        setattr(module, name, value)
    parts = dict(module.named_modules())
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in kept["frozen"])
    for name, each in parts.items():
        each.training = name not in kept["evaluating"]
    for name, metric in kept["metrics"].items():
        part: Any = parts.get(name)
        if is_metric(part):
            for key, value in to_device(metric["state"], part.device).items():
                setattr(part, key, value)
            part._update_count = metric["updates"]
            part._computed = None


def is_metric(part: Any) -> bool:
    """Whether a module is one of torchmetrics."""
    return isinstance(part, nn.Module) and hasattr(part, "metric_state") and hasattr(part, "_update_count")
