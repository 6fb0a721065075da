"""The model of an experiment: `BaseModel`, which trains, evaluates and predicts, and its usual kinds.

A definition derives `Model` from one of these classes and gives `init_model`, which ends in
`super().init_model(network, criterion, optimizer, constraints=[…])`. Every method may be overridden.
"""

import functools
import os
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from constraints import Constraint
from helixband import interruption, metrics
from helixband.errors import DefinitionError
from helixband.nested import map_leaves
from helixband.networks.heads import ConvClassificationNetwork, ConvRegressionNetwork, class_probabilities
from helixband.results import checkpoints
from helixband.results.directory import Row, Trial
from helixband.training import batch_metrics, distributed, forward_errors, judge, losses, monte_carlo, passes
from helixband.training.configuration import AsDeclared, Config, from_json
from helixband.training.engine import Engine, ours_of
from helixband.training.epochs import batches_used, check_sets
from helixband.training.feed import choose_device, number_of_batches
from helixband.training.given import take_parts
from helixband.training.member import Member
from helixband.training.options import Interval, TrainingOptions, as_options
from helixband.training.parameters import parameter_groups
from helixband.training.result import Result
from helixband.training.single import fit_one
from helixband.training.state import ModelState

__all__ = [
    "BaseModel",
    "ClassificationModel",
    "ConvClassificationNetwork",
    "ConvRegressionNetwork",
    "MultiLabelModel",
    "RegressionModel",
    "TrainingOptions",
    "choose_device",
    "parameter_groups",
]

Generator = Iterable[Any]
Number = int | float | np.number[Any]

DEFAULT_ARGS = dict(batch_size=100, cpu=False, debug=False, seed=0, training={}, keep_checkpoints=0)
DEFAULT_ARGS |= {"steps_per_epoch": 1, "total_epochs": 1}  # of a model that is made without data
DEBUG_BATCHES = 2
PER_LABEL = 20
"""A `MultiLabelModel` reports its metrics label by label where there are at most so many."""
_MADE_LATER = {"network", "criterion", "optimizer", "scheduler"}


def _recorded(name: str, doc: str) -> Any:
    """A property that is kept in the model's record."""

    def write(model: "BaseModel", value: Any) -> None:
        setattr(model.engine.record, name, value)

    return property(lambda model: getattr(model.engine.record, name), write, doc=doc)


class BaseModel:
    """A network with its criterion and optimizer, trained epoch by epoch.

    `config`: the hyperparameters, a mapping. `args`: the command line as a Namespace; what is missing from
    it has the command line's default. After `fit` the network holds the best weights, by reward; a further
    `fit` goes on from the last.
    """

    network: nn.Module
    criterion: losses.Criterion
    optimizer: Optimizer | None
    default_criterion: losses.Criterion | None = None

    def __init__(self, config: Mapping[str, Any] | None = None, args: Namespace | None = None) -> None:
        self.config = config if isinstance(config, Config) else from_json(config or {})
        self.args = Namespace(**(DEFAULT_ARGS | vars(args or Namespace())))
        self.device = choose_device(self.args.cpu)
        self.engine = engine = Engine()
        own_names = {*vars(self), *_MADE_LATER}
        engine.initialise(self)
        if not engine.is_set_up and hasattr(self, "network"):  # the parts were set as attributes
            criterion, optimizer = getattr(self, "criterion", None), getattr(self, "optimizer", None)
            BaseModel.init_model(self, self.network, criterion, optimizer)
        if not engine.is_set_up:
            name = type(self).__name__
            raise DefinitionError(f"{name}.init_model has to end in super().init_model(network, …)")
        self.engine.state = ModelState(self, own_names)

    @property
    def params(self) -> Config:
        """The hyperparameters: `config` under its other name."""
        return self.config

    hparams = AsDeclared()
    missing_label: Any = losses.MissingLabel()

    epoch = _recorded("epoch", "How many epochs it is trained, those of earlier runs included.")
    steps = _recorded("steps", "How many optimizer steps it has taken, over all epochs.")
    history = _recorded("history", "One row an epoch: `epoch` (from 1), `train_*`, `val_*`, `reward`, `lr`.")
    best_epoch = _recorded("best_epoch", "The epoch with the highest reward; 0 before the first.")
    best_reward = _recorded("best_reward", "The highest reward; minus infinity before there is one.")

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch; 1 where the model is made without data."""
        return self.engine.steps_per_epoch(self.args.steps_per_epoch, self.batch_limit)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole training, of as many epochs as --epoch said when the trial began."""
        self.engine.asked_total = True
        return self.steps_per_epoch * int(self.args.total_epochs)

    # What a definition gives.

    def init_model(
        self,
        network: nn.Module | None = None,
        criterion: losses.Criterion | Optimizer | None = None,
        optimizer: Optimizer | Mapping[str, Optimizer] | None = None,
        constraints: Sequence[Constraint] = (),
        scheduler: LRScheduler | Sequence[LRScheduler] | None = None,
        scheduler_interval: Interval | Sequence[Interval] | None = None,
        scheduler_metric: str | None = None,
        training: TrainingOptions | None = None,
        **other: Any,
    ) -> None:
        """Take the parts of the model. A definition overrides it without arguments and ends in this one.

        `network(x)` gives a tensor, or a dict with `y_pred` (for metrics and predictions) and `y_pred_loss`
        (for the criterion). `criterion(input, target)` gives the mean loss of a batch; a function whose
        parameters are named y_true… and y_pred… gets them by name. Classes with a `default_criterion` take
        (network, optimizer), too. `scheduler` is one or a list. `training` says what a training does besides;
        `constraints`, `scheduler_interval` and `scheduler_metric` are options of it, too.
        """
        ours = ours_of(type(self), __name__)
        take_parts(self, network, criterion, optimizer, own_loss="compute_loss" not in ours)
        self.scheduler = scheduler
        keywords = {"scheduler_interval": scheduler_interval, "scheduler_metric": scheduler_metric, **other}
        options = as_options(training).with_keywords(constraints=constraints, **keywords)
        own = {name for name, method in vars(BaseModel).items() if getattr(type(self), name) is not method}
        self.engine.ours = ours
        self.engine.set_up(self, options.but(self.args.training), own)

    def train_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, Number]:
        """Metrics of one training batch, NumPy -> {name: number}; reported as train_<name>, their mean."""
        return {}

    def eval_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, Number]:
        """Metrics of a whole set, NumPy -> {name: number}; val_<name>, and <name> on the test set."""
        return {}

    def pictures(self, x: Any, y_true: Any, y_pred: Any) -> Mapping[str, Any]:
        """Pictures by name of a set's first examples, for report and TensorBoard; x as `forward` gets it."""
        return {}

    def get_hyperband_reward(self, result: Mapping[str, float]) -> Number:
        """What a search maximises and the best epoch is chosen by, from {train_*, val_*} of an epoch."""
        return -result["val_loss"]

    def check_labels(self, y_true: Any) -> None:
        """Raise `DataError` for labels, NumPy, that the model or its criterion is not made for.

        Asked once for each set; for the training set in its first epoch, of several batches at a time.
        """
        masked = None if self.engine.own_loss else self.engine.masked
        if masked is not None and isinstance(y_true, np.ndarray):
            masked.check_labels(y_true)

    # One batch, on the device.

    def forward(self, x: Any) -> dict[str, Any]:
        """The network's output for a batch as {`y_pred`, `y_pred_loss`}."""
        try:
            output = self.network(x)
        except Exception as error:
            error.add_note(forward_errors.account(self.network, x, error))
            raise
        return self.split_output(output)

    def split_output(self, output: Any) -> dict[str, Any]:
        """{`y_pred`, `y_pred_loss`} from what the network returned; a tensor is both."""
        if not isinstance(output, dict):
            masked = None if self.engine.own_loss else self.engine.masked
            y_pred = masked.prediction(output) if masked and isinstance(output, Tensor) else output
            return {"y_pred": y_pred, "y_pred_loss": output}
        if "y_pred" not in output:
            raise DefinitionError(f"the network returned a dict with {list(output)}; it needs 'y_pred'")
        return {"y_pred_loss": output["y_pred"], **output}

    def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
        """The loss of a batch: a scalar tensor, or (sum, weight), whose quotient it is, or a dict of these.

        The sum of a dict of named losses is trained; each is reported by its name.
        The loss of a set is that of all its examples at once. For it, sums and weights are added up, and
        torch's losses likewise. Any other criterion is called with the outputs for the whole set.
        """
        engine = self.engine
        if engine.check_loss:  # a step of a definition's own calls this, not the engine
            judge.check_loss(self, y_pred_loss, y)
        if engine.criterion is not self.criterion:
            engine.take_criterion(self.criterion)
        if engine.sample_weight is not None:
            return engine.weighted_loss(self.criterion, y_pred_loss, y)
        try:
            loss = engine.loss_of(y_pred_loss, y)
        except Exception as error:
            error.add_note(forward_errors.account_of_criterion(y_pred_loss, y, error))
            raise
        losses.check_scalar(loss)
        return loss

    def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
        """Train on one batch; (loss, y_pred)."""
        assert self.optimizer is not None
        engine = self.engine
        engine.modes.train()
        loss, (y_pred, weighed) = engine.update(self, functools.partial(judge.training_loss, self, x, y))
        is_one = isinstance(y_pred, Tensor)  # asked here, as it nearly always is
        y_pred = y_pred.detach() if is_one else map_leaves(Tensor.detach, y_pred)
        return engine.detached(loss, weighed), y_pred

    def backward(self, loss: Any, retain_graph: bool = False) -> Tensor:
        """For a `train_step` of your own, given what `compute_loss` gave: the gradients; its scalar."""
        return judge.backward(self, loss, retain_graph)

    def optimizer_step(self, name: str | None = None) -> None:
        """For a `train_step` of your own, after `backward`: the update, by one of several optimizers."""
        self.engine.update.step(self, name)

    def split_batch(self, batch: Any) -> tuple[Any, ...]:
        """(x, y) or (x, y, weight) of a labelled batch of another form; weight (N,), of the examples."""
        raise NotImplementedError

    def prepare_batch(self, x: Any, y: Any) -> tuple[Any, Any]:
        """(x, y) to train on, of a batch on the device: for augmentation. Not called in evaluation."""
        return x, y

    def on_epoch_end(self, row: Result) -> Mapping[str, Number] | None:
        """After validation, before the reward: may add columns to the epoch's row, or return them."""

    def on_before_step(self) -> None:
        """Before each update: the parameters have the gradients of all its batches, not clipped yet."""

    @torch.no_grad()
    def eval_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
        """(loss, y_pred) of one batch in evaluation mode."""
        found = judge.batch(self, x, y)
        return found.loss.value, found.y_pred

    @torch.no_grad()
    def predict_step(self, x: Any) -> Any:
        """y_pred of one batch in evaluation mode."""
        interruption.check()
        self.engine.modes.eval()
        return self.forward(x)["y_pred"]

    def other_strand(self, y_pred: Any, turned: Callable[[Any], Any]) -> Any:
        """y_pred of reverse complements, as of the strand that was asked for; by default as it is: scores.

        `turned(array)` is an array (N, …, L) with its positions from last to first, padding in its place.
        """
        return y_pred

    # A whole set.

    def fit(
        self,
        train: Generator,
        val: Generator,
        epochs: int,
        trial: Trial | None = None,
        seed: int | None = None,
        on_epoch: Callable[[Row], None] | None = None,
    ) -> list[Row]:
        """Train until `epochs` epochs are done, those before this call included; the history.

        With a `trial`, states are kept in its directory, and a training found there goes on. `seed`
        (default: `args.seed`) orders the training generator's epochs. `on_epoch` gets each row.

        Raises `TrainingError` where the loss is not finite; the last good epoch is kept.
        """
        member = self.as_member(train, val, epochs, trial, seed, on_epoch)
        fit_one(member)
        member.raise_error()
        return self.engine.record.history

    def as_member(
        self,
        train: Generator,
        val: Generator,
        epochs: int,
        trial: Trial | None = None,
        seed: int | None = None,
        on_epoch: Callable[[Row], None] | None = None,
    ) -> Member:
        """This model as a member of a training, for `helixband.training.fit`; arguments as those of `fit`."""
        if self.optimizer is None:
            raise DefinitionError(f"{type(self).__name__}.init_model passed no optimizer")
        epochs_in_all = getattr(self.args, "epoch", None) or epochs
        batches, debug = number_of_batches(train), self.batch_limit
        check_sets(self.engine.options, train, val)
        distributed.check(self, train)
        self.engine.check_plan(self, epochs_in_all, batches, debug)
        return Member(
            model=self,
            train=train,
            val=val,
            epochs=epochs,
            trial=trial,
            seed=self.args.seed if seed is None else seed,
            limit=batches_used(self.engine.options, batches, debug),
            goes_on=not self.args.debug,
            metrics=judge.meter_of(self),
            on_epoch=on_epoch,
            total_epochs=self.args.total_epochs if hasattr(self.args, "epoch") else epochs,
        )

    def evaluate(self, generator: Generator) -> Result:
        """`loss` and the metrics of `eval_metrics` over a whole set."""
        return Result(judge.whole(self, generator)[0])

    def evaluate_mc(self, generator: Generator, samples: int) -> dict[str, float]:
        """Evaluation with dropout left on (Gal and Ghahramani 2016): `samples` passes over the set.

        Metrics of the mean prediction, and as <name>_std the spread over the passes. The loss is that of the
        mean prediction too, or the mean loss where the criterion takes other outputs than y_pred, as logits.
        """
        return judge.whole_mc(self, generator, samples)[0]

    def predict(self, generator: Generator | Tensor | np.ndarray[Any, Any]) -> Any:
        """y_pred over the x of a generator, or of one array or tensor (N, …): NumPy (N, …)."""
        batches = [generator] if isinstance(generator, np.ndarray | Tensor) else generator
        step, rows, giver = judge.prediction_step(self), self.args.batch_size, "predict_step"
        return passes.predict(step, batches, self.device, rows, self.batch_limit, self.engine.giver(giver))

    def predict_mc(self, generator: Generator, samples: int) -> tuple[Any, Any]:
        """(mean, standard deviation) of y_pred over `samples` passes with dropout left on."""
        with self.engine.modes.dropout_left_on():
            passes = [self.predict(generator) for _ in range(samples)]
        monte_carlo.check(passes)
        return monte_carlo.mean(passes), monte_carlo.spread(passes)

    # Checkpoints.

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network's weights, whole or not at all."""
        checkpoints.save(path, self.engine.record.weights(self.engine.state.weights(self)))

    def load(self, path: str | os.PathLike[str]) -> None:
        """Read weights that `save` or `fit` wrote; raises `StorageError` where they do not fit."""
        self.engine.state.use(self, checkpoints.load(path), str(path))

    @property
    def batch_limit(self) -> int | None:
        """How many batches of a set are used, if not all: --debug takes a few."""
        limits = [self.engine.limit, DEBUG_BATCHES if self.args.debug else None]
        return min((limit for limit in limits if limit is not None), default=None)


class RegressionModel(BaseModel):
    """Mean squared error, `mse` and `pearson`; the reward is −val_loss.

    Labels (N,) and (N, 1) are the same thing to it.
    """

    default_criterion: losses.Criterion | None = nn.MSELoss()
    missing_label = float("nan")

    def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
        """The criterion's loss, y brought to the shape of the prediction.

        Raises `DefinitionError` where they differ in size: torch would broadcast one against the other.
        """
        if self.engine.masked is None:
            y = losses.like_prediction(
                y, y_pred_loss, "a regression needs one prediction for each value of y", self.criterion
            )
        return super().compute_loss(y_pred_loss, y)

    def train_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, Number]:
        return {"mse": metrics.mse(y_true, y_pred)}

    _of_batches = batch_metrics.MSE
    """`train_metrics` of several batches."""

    def eval_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, Number]:
        return {"mse": metrics.mse(y_true, y_pred), "pearson": metrics.pearson(y_true, y_pred)}


class ClassificationModel(BaseModel):
    """Cross-entropy, `accuracy` and `auroc`, for two classes or more; the reward is −val_loss.

    Labels are class indexes, (N,) or (N, 1), or one column a class, (N, C), whose rows sum to 1. The network
    gives logits: one a class, (N, C), or for two classes one alone, (N,) or (N, 1).
    """

    default_criterion: losses.Criterion | None = staticmethod(losses.cross_entropy)
    class_names: Sequence[str] | None = None
    """The names of the classes in the report, by default class_0, class_1, …"""

    def split_output(self, output: Any) -> dict[str, Any]:
        """A plain tensor is the logits; metrics and predictions get probabilities."""
        if isinstance(output, Tensor):
            return {"y_pred": class_probabilities(output), "y_pred_loss": output}
        return super().split_output(output)

    def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
        """The criterion's loss, y brought to the form that goes with the logits.

        Raises `DefinitionError` for a softmax over one logit, whose loss is 0 whatever it is.
        """
        self.engine.see_logits(y_pred_loss)
        losses.check_several(self.criterion, self.engine.n_logits, y_pred_loss)
        if isinstance(y_pred_loss, Tensor) and isinstance(y, Tensor) and y_pred_loss.ndim <= 2:
            y = losses.match_labels(y, y_pred_loss, self.engine.own_prepare)
        with losses.classes_checked(self, y):
            return super().compute_loss(y_pred_loss, y)

    def train_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, Number]:
        return {"accuracy": metrics.accuracy(y_true, y_pred)}

    _of_batches = batch_metrics.ACCURACY

    def eval_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, Number]:
        return metrics.of_classes(y_true, y_pred, judge.names_of(self, y_pred) or None)

    def check_labels(self, y_true: Any) -> None:
        super().check_labels(y_true)
        if isinstance(y_true, np.ndarray):
            what = f"{type(self).__name__} is a ClassificationModel"
            ignored = getattr(self.criterion, "ignore_index", -100)
            losses.check_classes(y_true, self.engine.n_logits, what, ignored)


class MultiLabelModel(BaseModel):
    """Several labels an example: binary cross-entropy, accuracy, AUROC and AUPRC; the reward is −val_loss.

    Labels are (N, L), 0 or 1, or NaN where one is missing (generators take it with `allow_nan=True`). The
    network gives logits (N, L), and predictions are the probability of each label. `accuracy`, `auroc` and
    `auprc` are the means over the labels for which they are defined, `auroc_median` and `auprc_median` the
    medians. Up to `PER_LABEL` labels are reported one by one, too.
    """

    default_criterion: losses.Criterion | None = staticmethod(losses.label_cross_entropy)
    missing_label = float("nan")
    label_names: Sequence[str] | None = None
    """The names of the labels in metrics and report, by default label_0, label_1, …"""

    def split_output(self, output: Any) -> dict[str, Any]:
        """A plain tensor is the logits; metrics and predictions get probabilities."""
        if isinstance(output, Tensor):
            return {"y_pred": torch.sigmoid(output), "y_pred_loss": output}
        return super().split_output(output)

    def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
        """The criterion's loss over the labels that are known, y brought to the shape of the logits."""
        y = losses.like_prediction(y, y_pred_loss, "several labels need one logit for each label")
        if isinstance(y, Tensor) and y.dtype != y_pred_loss.dtype:
            y = y.to(y_pred_loss.dtype)
        if losses.is_plain_bce(self.criterion):
            own, of_examples = self.criterion, self.engine.take_weight()
            total, weight = losses.label_losses(y_pred_loss, y, own.weight, own.pos_weight, of_examples)
            loss = total / torch.where(weight == 0, 1, weight)
            self.engine.note(loss, weight)
            return loss
        return super().compute_loss(y_pred_loss, y)

    def train_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, Number]:
        return {"accuracy": metrics.over_labels(metrics.accuracy, y_true, y_pred).mean}

    _of_batches = batch_metrics.LABEL_ACCURACY

    def eval_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, Number]:
        found: dict[str, Number] = {}
        for metric in (metrics.accuracy, metrics.auroc, metrics.auprc):
            name = metric.__name__
            values = metrics.over_labels(metric, y_true, y_pred, self.label_names)
            found[name] = values.mean
            if name != "accuracy":
                found[f"{name}_median"] = values.median
            if len(values.each) <= PER_LABEL:
                found |= {f"{name}_{label}": value for label, value in values.each.items()}
        return found
