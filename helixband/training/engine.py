"""What training keeps of a model, in one attribute of it, so that all other names are the definition's."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from helixband import randomness
from helixband.errors import DefinitionError
from helixband.losses.base import MaskedLoss
from helixband.nested import leaves, length
from helixband.results.directory import Row
from helixband.training import precision
from helixband.training.broadcasting import signature
from helixband.training.distributed import Shared
from helixband.training.ended import Ended
from helixband.training.epochs import batches_used, limited
from helixband.training.feed import number_of_batches
from helixband.training.foreign import Foreign
from helixband.training.guard import guard_of, watched_step
from helixband.training.losses import Weigher, divided, divisor, is_standard, parameter_names, weigher
from helixband.training.meters import Loss, mean_of
from helixband.training.modes import Modes
from helixband.training.objects import is_of_helixband
from helixband.training.optimizers import Optimizers
from helixband.training.options import TrainingOptions
from helixband.training.parts.average import Average
from helixband.training.parts.clip import Norms
from helixband.training.parts.freeze import Freeze
from helixband.training.parts.order import after_update, before_update
from helixband.training.parts.schedule import Schedules, check_optimizers, check_schedulers, check_totals
from helixband.training.parts.skip import Skip
from helixband.training.parts.update import Part, Update, check_optimizer
from helixband.training.patience import Patience
from helixband.training.rows import check_rows
from helixband.training.state import ModelState
from helixband.training.way import Way
from helixband.training.weighting import needs_weight, weighted

_CALL_THE_NETWORK = {"forward", "train_step", "eval_step", "predict_step"}
"""Methods that may call parts of the network alone, where a definition has them itself."""


@dataclass(eq=False)
class Record:
    """How far a model is trained, and the states from which it goes on or is used."""

    epoch: int = 0
    """Epochs trained."""
    steps: int = 0
    """Optimizer steps taken, over all epochs."""
    history: list[Row] = field(default_factory=list)
    """epoch (from 1), train_*, val_*, reward, lr: one row an epoch."""
    seconds: list[float] = field(default_factory=list)
    """How long each epoch took, its validation included."""
    ways: list[Way] = field(default_factory=list)
    """In which way the steps of each epoch were computed."""
    best_epoch: int = 0
    best_reward: float = -math.inf
    last: dict[str, Any] | None = None
    """The content of the last checkpoint, as of the best."""
    best: dict[str, Any] | None = None
    ended: Ended | None = None
    """How the latest training ended."""

    def moment(self) -> tuple[int, int]:
        """The epoch and the optimizer step under way, both from 0."""
        return self.epoch, max(0, self.steps - 1)

    def weights(self, parts: dict[str, Any]) -> dict[str, Any]:
        """What a checkpoint of weights has, given the states of the parts that have some."""
        return {"epoch": self.epoch, "steps": self.steps, "reward": self.best_reward, **parts}


class Noted(NamedTuple):
    """A loss, its weight among other batches, and torch's count of the tensor's changes in place."""

    loss: Tensor
    weight: float | Tensor | None
    version: int
    parts: Mapping[str, Loss] | None = None


class Engine:
    """A model's record and state, and how it takes its steps. `set_up` comes before any of the latter."""

    options: TrainingOptions
    modes: Modes
    state: ModelState
    schedules: Schedules
    freeze: Freeze | None
    average: Average | None
    update: Update
    norms: Norms
    patience: Patience | None
    after_update: list[Part]
    has_train_metrics: bool
    """Whether anything looks at the predictions of training."""
    checks_labels: bool
    own_check: bool
    """Whether code of a definition checks labels."""
    criterion: Any = None
    """That of which the engine knows how it is called and weighed; None: it has to be looked at."""
    criterion_names: tuple[str, str] | None
    weigher: Weigher | None
    divisor: Weigher | None
    masked: MaskedLoss | None
    """The criterion where it is ours: it brings labels to its form, checks them, and has predictions of y."""

    def __init__(self) -> None:
        self.record = Record()
        self.is_set_up = False
        self.foreign: Foreign | None = None
        """The model itself, where another package trains it."""
        self.is_hopeless: Callable[[int, float], bool] | None = None
        """Whether a training ends early, given the epochs that it has had and its best reward."""
        self.check_loss = self.check_metrics = self.check_step = True
        """Whether the next batch is to be checked for broadcasting."""
        self._checked: set[tuple[str, Any]] = set()
        self._own: set[str] = set()
        self.ours: set[str] = set()
        """Which of the methods that compute losses and metrics are those of our own classes."""
        self.own_loss = True
        """Whether `compute_loss` is a definition's own."""
        self.n_logits: int | None = None
        """How many logits each example, or position of it, of the last batch of a classification had."""
        self.scores_y_pred = False
        """Whether the loss of the batch that was evaluated last is of y_pred itself, and not of logits."""
        self.asked_total = False
        """Whether `init_model` depends on the total number of steps."""
        self.asked_steps = False
        """Whether it has asked for that, or for those of an epoch."""
        self.supposed = TrainingOptions()
        """The options, as far as they are known before `init_model` has given them."""
        self.limit: int | None = None
        """How many batches of a set are evaluated, if not all."""
        self.sample_weight: Tensor | None = None
        """The weights of the examples of the batch that is computed, (N,), where it has some."""
        self.weight_used = False
        """Whether its loss has taken them."""
        self.adds_up = True
        """Whether the losses that `compute_loss` gave last can be put together from those of batches."""
        self.trains = False
        """Whether the pass over a set that is under way, or was last, is one of training."""
        self.rows = 0
        """The examples of the batch of the step under way."""
        self.shared: Shared | None = None
        """The part of this process in a training by several; None of one alone."""
        self.noted: Noted | None = None
        """What is known of the loss that was computed last; nothing where its weight is not."""

    def note(
        self, loss: Tensor, weight: float | Tensor | None, parts: Mapping[str, Loss] | None = None
    ) -> None:
        """Keep the weight of the loss that was just computed, and what it is the sum of."""
        # Of a tensor of torch's inference mode no change is counted.
        self.noted = None if loss.is_inference() else Noted(loss, weight, loss._version, parts)

    def weighed(self, loss: Any) -> Loss | None:
        """A loss with its weight, if it is the very tensor that was noted, and unchanged since."""
        noted = self.noted
        if noted is None or noted.loss is not loss or noted.version != loss._version:
            return None
        return Loss(loss, noted.weight, noted.parts)

    def detached(self, loss: Tensor, weighed: Loss | None) -> Tensor:
        """A loss without its gradient, of which is noted what is known of it with its weight."""
        detached = loss.detach()
        self.noted = weighed and Noted(detached, weighed.weight, detached._version, weighed.parts)
        return detached

    def weight_of(self, rows: int) -> int | Tensor:
        """The weight of a batch among others, as far as its loss does not tell: that of its examples."""
        return rows if self.sample_weight is None else self.sample_weight.sum()

    def see_logits(self, y_pred_loss: Any) -> None:
        """Note how many classes a network tells apart: (N, C, …), or (N,) of one logit."""
        if isinstance(y_pred_loss, Tensor) and y_pred_loss.ndim:
            self.n_logits = 1 if y_pred_loss.ndim == 1 else y_pred_loss.shape[1]

    def share_of(self, loss: Tensor) -> float | Tensor | None:
        """How much a batch of this loss counts among those that are accumulated with it; None of a sum."""
        if (weighed := self.weighed(loss)) is not None:
            return weighed.weight
        # A loss that was made of one with a weight, as with a penalty added, counts as that.
        if self.noted is not None and not self.noted.parts:
            return self.noted.weight
        return self.weight_of(self.rows)

    @property
    def needs_calls(self) -> bool:
        """Whether a `train_step` has to update by our means."""
        return self.update.needs_calls or (self.average is not None and self.average.by_step)

    def take_weight(self) -> Tensor | None:
        """The weights of the batch's examples, for a loss that uses them."""
        self.weight_used = True
        return self.sample_weight

    def weighted_loss(self, criterion: Any, y_pred_loss: Any, y: Any) -> Tensor:
        """The loss of a batch whose examples have weights, noted if the losses of batches add up."""
        weight = self.take_weight()
        assert weight is not None
        loss = weighted(criterion, y_pred_loss, y, weight)
        if self.masked is None or self.masked.adds_up:
            self.note(*loss)
        return loss.value

    def unseen(self, what: str, *parts: Any) -> bool:
        """Whether a computation has not been checked yet on parts of these shapes; it is from now on."""
        seen = len(self._checked)
        self._checked.add((what, signature(*parts)))
        return len(self._checked) > seen

    def own(self, model: Any, step: str, x: Any, y: Any) -> Any:
        """What a step of a definition's own gives, in its mode; watched on the first batch of a pass."""
        (self.modes.train if step == "train_step" else self.modes.eval)()
        guard = guard_of(x, y) if self.check_step else None
        if guard is None:
            return getattr(model, step)(x, y)
        self.check_step = False
        with watched_step(step, model.network, guard):
            return getattr(model, step)(x, y)

    def begin_epoch(self) -> None:
        """Begin a pass over the training set."""
        self.begin_pass(trains=True)
        self.update.begin_epoch()
        if self.freeze is not None:
            self.freeze.begin_epoch(self.record.epoch)

    def begin_pass(self, trains: bool = False) -> None:
        """Have the criterion looked at, and the first batch of a pass over a set checked."""
        self.trains = trains
        precision.begin_pass(self.options.precision)
        self.criterion = None
        self.check_loss = self.check_metrics = self.check_step = True

    def take_criterion(self, criterion: Any) -> None:
        """Find how a criterion is called, and how its losses are put together."""
        self.criterion = criterion
        self.criterion_names = parameter_names(criterion)
        self.needs_weight = needs_weight(criterion)
        self.weigher, self.divisor = weigher(criterion), divisor(criterion)
        self.masked = criterion if isinstance(criterion, MaskedLoss) else None

    def loss_of(self, y_pred_loss: Any, y: Any) -> Any:
        """What the criterion gives of a batch; the weight is noted where it is known."""
        if self.needs_weight:
            ones = torch.ones(length(y), device=next(leaves(y_pred_loss)).device)
            loss = weighted(self.criterion, y_pred_loss, y, ones).value
            self.note(loss, length(y))
            return loss
        if self.criterion_names:
            true, pred = self.criterion_names
            return self.criterion(**{true: y, pred: y_pred_loss})
        if not (isinstance(y_pred_loss, Tensor) and isinstance(y, Tensor)):
            return self.criterion(y_pred_loss, y)
        if self.divisor is not None:
            loss, weight = divided(self.criterion, self.divisor, y_pred_loss, y)
        else:
            loss = self.criterion(y_pred_loss, y)
            weight = self.weigher and self.weigher(y_pred_loss, y)
        if self.weigher is not None:
            self.note(loss, weight)
        return loss

    def set_up(self, model: Any, options: TrainingOptions, own: set[str]) -> None:
        """Take up what `init_model` has put on the model; `own`: methods that a definition overrides."""
        self.is_set_up, self.options = True, options
        self._own, self.own_loss = own, "compute_loss" not in self.ours
        self.own_step, self.own_eval_step = "train_step" in own, "eval_step" in own
        self.has_train_metrics = "train_metrics" in own
        self.own_split, self.own_prepare = "split_batch" in own, "prepare_batch" in own
        self.own_epoch_end, self.has_pictures = "on_epoch_end" in own, "pictures" in own
        self.checks_labels = "check_labels" in own or isinstance(model.criterion, MaskedLoss)
        asks = _module_of(type(model).check_labels)
        self.own_check = not (is_of_helixband(asks) and is_standard(model.criterion))
        self.modes = Modes(model.network, model.criterion)
        self.schedules = Schedules(model.optimizer, options)
        check_schedulers(model.scheduler, options, self.asked_steps)
        self.freeze = Freeze(model.network, options.freeze, self.modes) if options.freeze else None
        is_averaged = options.ema_decay is not None or options.swa_start is not None
        self.average = Average(options, model.network, self.record.moment) if is_averaged else None
        self.patience = None if options.patience is None else Patience(options)
        self.asked_total = self.asked_total or options.swa_start is not None
        several = isinstance(model.optimizer, Optimizers)
        self.norms, self.after_update = Norms(), after_update(options, model.network, self.average, several)
        self.update = Update(
            before_update(options, self.norms),
            self.after_update,
            options.accumulate,
            precision.set_up(model.network, options.precision, model.device, bool(own & _CALL_THE_NETWORK)),
            "on_before_step" in own,
            Skip() if options.nan == "skip" else None,
            several=several,
            freezes=self.freeze is not None,
        )
        check_optimizer(model.optimizer, self.update, self.own_step)
        self.take_criterion(model.criterion)

    def initialise(self, model: Any) -> None:
        """Have the definition make the parts of the model.

        It does so once more if it counted optimizer steps before it said how many batches make one.
        """
        numbers, self.supposed = randomness.get_state(), TrainingOptions().but(model.args.training)
        model.init_model()
        if not (self.is_set_up and self.asked_steps):
            return
        counted = ("accumulate", "epoch_steps", "limit_train")
        if any(getattr(self.options, name) != getattr(self.supposed, name) for name in counted):
            self.supposed = self.options
            randomness.set_state(numbers)
            model.init_model()

    @contextmanager
    def limited(self, limit: float | None, generator: Any, name: str) -> Iterator[int | None]:
        """Sets are evaluated on so many batches, or such a share of the generator's; gives their number."""
        self.limit = limited(limit, number_of_batches(generator), name)
        try:
            yield self.limit
        finally:
            self.limit = None

    def steps_per_epoch(self, batches: int | None, debug: int | None) -> int:
        """Optimizer steps of an epoch of so many batches, of which --debug uses `debug`.

        Where it is not known how many there are, it is told by the epochs before.
        """
        self.asked_steps = True
        batches = batches_used(self.supposed, batches, debug)
        if batches is not None:
            return -(-int(batches) // self.supposed.accumulate)
        if self.record.epoch:
            return int(self.record.steps // self.record.epoch)
        raise DefinitionError(
            "steps_per_epoch is not known before the first epoch: the training generator has no length; "
            "give it __len__, the number of its batches"
        )

    def check_plan(self, model: Any, epochs: int, batches: int | None, limit: int | None) -> None:
        """Raise `DefinitionError` where epochs of so many batches do not go with options or schedulers.

        Of the batches, `limit` are used at most, as --debug has it.
        """
        accumulate, batches = self.options.accumulate, batches_used(self.options, batches, None)
        if batches is not None and accumulate > batches:
            raise DefinitionError(
                f"accumulate is {accumulate}, and an epoch has {batches} batches: an optimizer step would "
                "never be full; take a smaller one, or a smaller --batch-size"
            )
        if batches is not None and limit is not None:
            batches = min(batches, limit)
        steps = None if batches is None else -(-batches // accumulate)
        check_totals(model.scheduler, self.schedules.interval, epochs, steps)
        check_optimizers(model.scheduler, model.optimizer, self.own_step)
        self.schedules.check_values(epochs, steps)

    def has_own(self, name: str) -> bool:
        """Whether a definition, or a kind of model, overrides a method of `BaseModel`."""
        return name in self._own

    def giver(self, step: str) -> str:
        """What gives the predictions of a step: the step where it is a definition's own, else the network."""
        return step if step in self._own else "the network"

    def read(self, given: Any, rows: int, step: str) -> tuple[Loss, Any]:
        """(loss, y_pred) that a step of this name gave for so many examples, the loss with its weight."""
        if not isinstance(given, tuple) or len(given) != 2:
            raise DefinitionError(f"{step} returned {type(given).__name__}; it has to return (loss, y_pred)")
        loss, y_pred = given
        is_tensor = isinstance(y_pred, Tensor) and y_pred.ndim  # asked here, as it nearly always is one
        if is_tensor and y_pred.shape[0] == rows:
            pass
        elif y_pred is not None or step != "train_step" or self.has_train_metrics:
            check_rows(y_pred, rows, step, self.giver(step))
        if (weighed := self.weighed(loss)) is not None:
            return weighed, y_pred
        if isinstance(loss, tuple):
            return mean_of(loss), y_pred
        if not isinstance(loss, Tensor) or loss.ndim:
            shape = f"a loss of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
            raise DefinitionError(f"the step returned {shape}; it has to be a scalar tensor, the mean loss")
        return Loss(loss, self.weight_of(rows)), y_pred


def ours_of(kind: type[Any], module: str) -> set[str]:
    """Which of the methods that compute losses and metrics are those of a module."""
    asked = ("compute_loss", "split_output", "train_metrics", "eval_metrics")
    return {name for name in asked if _module_of(getattr(kind, name)) == module}


def _module_of(method: Any) -> str:
    """The name of the module in which a function is; of its wrapper, where it has one."""
    return str(getattr(method, "__globals__", {}).get("__name__", ""))
