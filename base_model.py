"""The model of an experiment: `BaseModel`, which trains, evaluates and predicts, and its usual kinds.

A definition derives `Model` from one of these classes and gives `init_model`, which ends in
`super().init_model(network, criterion, optimizer, constraints=[…])`. Every method may be overridden.
"""

import math
import os
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from batch_generator import BatchGenerator
from constraints import Constraint
from helixband import interruption, metrics
from helixband.errors import DefinitionError
from helixband.nested import map_leaves, shapes
from helixband.networks.heads import (
    ConvClassificationNetwork,
    ConvRegressionNetwork,
    class_probabilities,
)
from helixband.results import checkpoints
from helixband.results.directory import Row, Trial
from helixband.training import loop, monte_carlo, state
from helixband.training.batches import choose_device
from helixband.training.configuration import Config, from_json
from helixband.training.keeper import Keeper
from helixband.training.losses import Criterion, cross_entropy, match_labels, parameter_names
from helixband.training.schedules import Schedule

__all__ = [
    "BaseModel",
    "ClassificationModel",
    "ConvClassificationNetwork",
    "ConvRegressionNetwork",
    "RegressionModel",
    "choose_device",
]

Generator = Iterable[Any]
Number = int | float | np.number[Any]

DEFAULT_ARGS = {"batch_size": 100, "cpu": False, "debug": False, "seed": 0}
DEBUG_BATCHES = 2
_MADE_LATER = {"network", "criterion", "optimizer", "scheduler", "_module_parts", "_all_modules"}
_MADE_LATER |= {"_criterion_names", "_constrained", "_scheduled", "_own_names", "_stateful_names"}


class BaseModel:
    """A network with its criterion and optimizer, trained epoch by epoch.

    `config`: the hyperparameters, a mapping. `args`: the command line as a Namespace; what is missing from
    it has the command line's default. After `fit` the network holds the best weights, by reward; a further
    `fit` goes on from the last.
    """

    network: nn.Module
    criterion: Criterion
    default_criterion: Criterion | None = None

    def __init__(self, config: Mapping[str, Any] | None = None, args: Namespace | None = None) -> None:
        self.config = config if isinstance(config, Config) else from_json(config or {})
        self.args = Namespace(**(DEFAULT_ARGS | vars(args or Namespace())))
        self.device = choose_device(self.args.cpu)
        self.epoch = 0  # epochs trained
        self.steps = 0  # optimizer steps taken, over all epochs
        self.history: list[Row] = []  # epoch (from 1), train_*, val_*, reward: one row an epoch
        self.best_epoch = 0
        self.best_reward = -math.inf
        self._last: dict[str, Any] | None = None
        self._best: dict[str, Any] | None = None
        self._sampling = False
        self._own_names = {*vars(self), *_MADE_LATER}
        self.init_model()
        if not hasattr(self, "network"):
            name = type(self).__name__
            raise DefinitionError(f"{name}.init_model has to end in super().init_model(network, …)")
        self._stateful_names = {name for name, part in self._parts.items() if state.is_stateful(part)}

    @property
    def params(self) -> Config:
        """The hyperparameters: `config` under its other name."""
        return self.config

    # What a definition gives.

    def init_model(
        self,
        network: nn.Module | None = None,
        criterion: Criterion | None = None,
        optimizer: Optimizer | None = None,
        constraints: Sequence[Constraint] = (),
        scheduler: LRScheduler | None = None,
    ) -> None:
        """Take the parts of the model. A definition overrides it without arguments and ends in this one.

        `network(x)` gives a tensor, or a dict with `y_pred` (for metrics and predictions) and `y_pred_loss`
        (for the criterion). `criterion(input, target)` gives the mean loss of a batch; a function whose
        parameters are named y_true… and y_pred… gets them by name. `scheduler` steps after each epoch.
        """
        criterion = criterion or self.default_criterion
        _check_part(self, "network", network, isinstance(network, nn.Module))
        _check_part(self, "criterion", criterion, callable(criterion))
        _check_part(self, "optimizer", optimizer, isinstance(optimizer, Optimizer | None))
        assert network is not None and criterion is not None
        self.network = network.to(self.device)
        self.criterion = criterion.to(self.device) if isinstance(criterion, nn.Module) else criterion
        self.optimizer = optimizer
        self.scheduler = scheduler
        self._module_parts = [part for part in (network, self.criterion) if isinstance(part, nn.Module)]
        self._all_modules = [module for part in self._module_parts for module in part.modules()]
        self._criterion_names = parameter_names(criterion)
        self._constrained = [(c, weight) for c in constraints for weight in c.weights(network)]
        self._scheduled = [
            (index, name, value)
            for index, group in enumerate(optimizer.param_groups if optimizer else [])
            for name, value in group.items()
            if isinstance(value, Schedule)
        ]

    def train_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, Number]:
        """Metrics of one training batch, NumPy -> {name: number}; reported as train_<name>, their mean."""
        return {}

    def eval_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, Number]:
        """Metrics of a whole set, NumPy -> {name: number}; val_<name>, and <name> on the test set."""
        return {}

    def get_hyperband_reward(self, result: Mapping[str, float]) -> Number:
        """What a search maximises and the best epoch is chosen by, from {train_*, val_*} of an epoch."""
        return -result["val_loss"]

    # One batch, on the device.

    def forward(self, x: Any) -> dict[str, Any]:
        """The network's output for a batch as {`y_pred`, `y_pred_loss`}."""
        try:
            output = self.network(x)
        except Exception as error:
            is_bytes = isinstance(x, Tensor) and x.dtype == torch.uint8
            hint = ": indexes of letters, which OneHot() as the first layer takes" if is_bytes else ""
            error.add_note(f"in the forward pass of {type(self.network).__name__}; x is {shapes(x)}{hint}")
            raise
        return self.split_output(output)

    def split_output(self, output: Any) -> dict[str, Any]:
        """{`y_pred`, `y_pred_loss`} from what the network returned."""
        if not isinstance(output, dict):
            return {"y_pred": output, "y_pred_loss": output}
        if "y_pred" not in output:
            raise DefinitionError(f"the network returned a dict with {list(output)}; it needs 'y_pred'")
        return {"y_pred_loss": output["y_pred"], **output}

    def compute_loss(self, y_pred_loss: Any, y: Any) -> Tensor:
        """The criterion's mean loss of a batch, a scalar."""
        try:
            if self._criterion_names:
                true, pred = self._criterion_names
                loss = self.criterion(**{true: y, pred: y_pred_loss})
            else:
                loss = self.criterion(y_pred_loss, y)
        except Exception as error:
            error.add_note(f"in the criterion; its input is {shapes(y_pred_loss)}, its target {shapes(y)}")
            raise
        if not isinstance(loss, Tensor) or loss.ndim:
            shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise DefinitionError(f"the criterion returned {shape}; it has to return a scalar, the mean loss")
        return loss

    def train_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
        """Train on one batch; (loss, y_pred)."""
        assert self.optimizer is not None
        self._set_training_mode()
        self.optimizer.zero_grad()
        output = self.forward(x)
        loss = self.compute_loss(output["y_pred_loss"], y)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        for constraint, weight in self._constrained:
            constraint.apply(weight)
        return loss.detach(), map_leaves(Tensor.detach, output["y_pred"])

    @torch.no_grad()
    def eval_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
        """(loss, y_pred) of one batch in evaluation mode."""
        self._set_evaluation_mode()
        output = self.forward(x)
        return self.compute_loss(output["y_pred_loss"], y), output["y_pred"]

    @torch.no_grad()
    def predict_step(self, x: Any) -> Any:
        """y_pred of one batch in evaluation mode."""
        self._set_evaluation_mode()
        return self.forward(x)["y_pred"]

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
        if self.optimizer is None:
            raise DefinitionError(f"{type(self).__name__}.init_model passed no optimizer")
        keeper = Keeper(trial)
        self._go_on(train, trial)
        keeper.go_on(self.history)
        try:
            while self.epoch < epochs:
                row = self._fit_epoch(train, val, self.args.seed if seed is None else seed)
                assert self._last is not None
                keeper.keep(self._last, self._best if self.best_epoch == self.epoch else None)
                if on_epoch:
                    on_epoch(row)
        finally:
            keeper.flush()
        if self._best is not None:
            self._use(self._best, "the best state")
        return self.history

    def evaluate(self, generator: Generator) -> dict[str, float]:
        """`loss` and the metrics of `eval_metrics` over a whole set."""
        return self._evaluate(generator)[0]

    def evaluate_mc(self, generator: Generator, samples: int) -> dict[str, float]:
        """Evaluation with dropout left on (Gal and Ghahramani 2016): `samples` passes over the set.

        Metrics of the mean prediction, the mean loss, and as <name>_std the spread over the passes.
        """
        with self._dropout_left_on():
            passes = [self._evaluate(generator) for _ in range(samples)]
        predictions = [y_pred for _, _, y_pred in passes]
        monte_carlo.check(predictions)
        result = {"loss": float(np.mean([values["loss"] for values, _, _ in passes]))}
        together = self.eval_metrics(passes[0][1], monte_carlo.mean(predictions))
        result |= metrics.numbers(together, "eval_metrics")
        for name in list(result):
            result[f"{name}_std"] = float(np.std([values[name] for values, _, _ in passes]))
        return result

    def predict(self, generator: Generator | Tensor | np.ndarray[Any, Any]) -> Any:
        """y_pred over the x of a generator, or of one array or tensor (N, …): NumPy (N, …)."""
        batches = [generator] if isinstance(generator, np.ndarray | Tensor) else generator
        return loop.predict(self.predict_step, batches, self.device, self.args.batch_size, self._limit)

    def predict_mc(self, generator: Generator, samples: int) -> tuple[Any, Any]:
        """(mean, standard deviation) of y_pred over `samples` passes with dropout left on."""
        with self._dropout_left_on():
            passes = [self.predict(generator) for _ in range(samples)]
        monte_carlo.check(passes)
        return monte_carlo.mean(passes), monte_carlo.spread(passes)

    # Checkpoints.

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network's weights, whole or not at all."""
        checkpoints.save(path, self._best_of(state.capture(self._inferring_parts(), None)))

    def load(self, path: str | os.PathLike[str]) -> None:
        """Read weights that `save` or `fit` wrote; raises `StorageError` where they do not fit."""
        self._use(checkpoints.load(path), str(path))

    # How it is done.

    @property
    def _limit(self) -> int | None:
        return DEBUG_BATCHES if self.args.debug else None

    def _fit_epoch(self, train: Generator, val: Generator, seed: int) -> Row:
        """One epoch of training and its validation; what they gave, as a row of the history."""
        for generator in state.found_in(train, BatchGenerator):  # it may be within one of the user's
            generator.set_epoch(seed, self.epoch)
        silent = type(self).train_metrics is BaseModel.train_metrics
        train_metrics = None if silent else self._numeric_train_metrics
        trained = loop.train_epoch(self._timed_step, train, self.device, train_metrics, self._limit)
        result = {f"train_{name}": value for name, value in trained.items()}
        result |= {f"val_{name}": value for name, value in self.evaluate(val).items()}
        reward = metrics.number(self.get_hyperband_reward(dict(result)), "get_hyperband_reward")
        self.epoch += 1
        if self.scheduler is not None:
            if isinstance(self.scheduler, ReduceLROnPlateau):
                self.scheduler.step(result["val_loss"])
            else:
                self.scheduler.step()
        row = {"epoch": self.epoch, **result, "reward": reward}
        self.history.append(row)
        counts = {"epoch": self.epoch, "steps": self.steps, "history": list(self.history)}
        self._last = counts | state.capture(self._checked_parts(), train)
        if reward > self.best_reward or self.best_epoch == 0:
            self.best_epoch = self.epoch
            self.best_reward = -math.inf if math.isnan(reward) else reward
            self._best = self._best_of(self._last)
        return row

    def _timed_step(self, x: Any, y: Any) -> tuple[Tensor, Any]:
        """`train_step` with the schedules at the values of this moment."""
        interruption.check()
        if self._scheduled:
            assert self.optimizer is not None
            for index, name, schedule in self._scheduled:
                self.optimizer.param_groups[index][name] = schedule.at(self.epoch, self.steps)
        self.config.set_time(self.epoch, self.steps)
        self.steps += 1
        return self.train_step(x, y)

    def _evaluate(self, generator: Generator) -> tuple[dict[str, float], Any, Any]:
        loss, y_true, y_pred = loop.evaluate(
            self.eval_step, generator, self.device, self.args.batch_size, self._limit
        )
        values = metrics.numbers(self.eval_metrics(y_true, y_pred), "eval_metrics")
        return {"loss": loss, **values}, y_true, y_pred

    def _numeric_train_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
        return metrics.numbers(self.train_metrics(y_true, y_pred), "train_metrics")

    def _set_training_mode(self) -> None:
        # In each step, so that no module is left in another mode; asking first costs a tenth of setting.
        if not all(module.training for module in self._all_modules):
            for module in self._module_parts:
                module.train()

    def _set_evaluation_mode(self) -> None:
        interruption.check()
        for module in self._module_parts:
            module.eval()
        if self._sampling:
            monte_carlo.leave_dropout_on(self.network)

    @contextmanager
    def _dropout_left_on(self) -> Iterator[None]:
        self._sampling = True
        try:
            yield
        finally:
            self._sampling = False

    @property
    def _parts(self) -> dict[str, Any]:
        """All that has a state, by name: what training is made of, and what a user keeps on the model."""
        trained = {"network": self.network, "optimizer": self.optimizer, "scheduler": self.scheduler}
        if isinstance(self.criterion, nn.Module):
            trained["criterion"] = self.criterion
        trained = {name: part for name, part in trained.items() if part is not None}
        return trained | state.attributes_of(self, self._own_names, trained.values())

    def _checked_parts(self) -> dict[str, Any]:
        """The parts, for a checkpoint; what has a state has to be there before training, to take it back."""
        for name, part in (parts := self._parts).items():
            if state.is_stateful(part) != (name in self._stateful_names):
                raise DefinitionError(
                    f"{name} became a {type(part).__name__} in training; make it in init_model"
                )
        return parts

    def _go_on(self, train: Generator, trial: Trial | None) -> None:
        """Return to the last state, in memory or of the trial, where there is one."""
        where = f"the last state of trial {trial.id}" if trial else "the last state"
        if self._last is None and trial is not None and trial.last_checkpoint.exists():
            self._last = checkpoints.load(trial.last_checkpoint)
            self._best = checkpoints.load(trial.best_checkpoint)
            # Of the two files the best is written first, so it can be ahead of the last, never behind.
            self.best_epoch, self.best_reward = self._best["epoch"], self._best["reward"]
        if self._last is None:
            return
        state.put_back(self, state.restore(self._last, self._parts, train, where))
        self.epoch, self.steps = self._last["epoch"], self._last["steps"]
        self.history = list(self._last["history"])

    def _use(self, content: dict[str, Any], where: str) -> None:
        """Take the weights of a checkpoint, and the moment of schedules that they are from."""
        state.put_back(self, state.load_parts(content, self._inferring_parts(), where))
        self.config.set_time(max(0, content["epoch"] - 1), max(0, content["steps"] - 1))

    def _inferring_parts(self) -> dict[str, Any]:
        """The parts that evaluation and prediction depend on."""
        return {name: part for name, part in self._parts.items() if name not in ("optimizer", "scheduler")}

    def _best_of(self, content: dict[str, Any]) -> dict[str, Any]:
        """Of a state, what a checkpoint of weights has."""
        counts = {"epoch": self.epoch, "steps": self.steps, "reward": self.best_reward}
        return counts | {name: content[name] for name in self._inferring_parts()}


class RegressionModel(BaseModel):
    """Mean squared error, `mse` and `pearson`; the reward is −val_loss.

    Labels (N,) and (N, 1) are the same thing to it.
    """

    default_criterion = nn.MSELoss()

    def compute_loss(self, y_pred_loss: Any, y: Any) -> Tensor:
        """The criterion's loss, y brought to the shape of the prediction.

        Raises `DefinitionError` where they differ in size: torch would broadcast one against the other.
        """
        if isinstance(y_pred_loss, Tensor) and isinstance(y, Tensor) and y.shape != y_pred_loss.shape:
            if [n for n in y.shape if n > 1] != [n for n in y_pred_loss.shape if n > 1]:
                raise DefinitionError(
                    f"y has the shape {tuple(y.shape)} and the prediction {tuple(y_pred_loss.shape)}; "
                    "a regression needs one prediction for each value of y"
                )
            y = y.reshape(y_pred_loss.shape)
        return super().compute_loss(y_pred_loss, y)

    def train_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, Number]:
        return {"mse": metrics.mse(y_true, y_pred)}

    def eval_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, Number]:
        return {"mse": metrics.mse(y_true, y_pred), "pearson": metrics.pearson(y_true, y_pred)}


class ClassificationModel(BaseModel):
    """Cross-entropy, `accuracy` and `auroc`, for two classes or more; the reward is −val_loss.

    Labels are class indexes, (N,) or (N, 1), or one column a class, (N, C). The network gives logits: one a
    class, (N, C), or for two classes one alone, (N,) or (N, 1).
    """

    default_criterion = staticmethod(cross_entropy)

    def split_output(self, output: Any) -> dict[str, Any]:
        """A plain tensor is the logits; metrics and predictions get probabilities."""
        if isinstance(output, Tensor):
            return {"y_pred": class_probabilities(output), "y_pred_loss": output}
        return super().split_output(output)

    def compute_loss(self, y_pred_loss: Any, y: Any) -> Tensor:
        """The criterion's loss, y brought to the form that goes with the logits.

        Raises `DefinitionError` for a softmax over one logit, whose loss is 0 whatever it is.
        """
        one_logit = isinstance(y_pred_loss, Tensor) and (y_pred_loss.ndim == 1 or y_pred_loss.shape[1] == 1)
        if one_logit and isinstance(self.criterion, nn.CrossEntropyLoss):
            raise DefinitionError(
                f"CrossEntropyLoss got logits of shape {tuple(y_pred_loss.shape)}, one for each example; it "
                "takes one a class: give the network 2 outputs, or leave the criterion out"
            )
        if isinstance(y_pred_loss, Tensor) and isinstance(y, Tensor) and y_pred_loss.ndim <= 2:
            y = match_labels(y, y_pred_loss)
        return super().compute_loss(y_pred_loss, y)

    def train_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, Number]:
        return {"accuracy": metrics.accuracy(y_true, y_pred)}

    def eval_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, Number]:
        return {
            "accuracy": metrics.accuracy(y_true, y_pred),
            "auroc": metrics.auroc(y_true, y_pred),
        }


def _check_part(model: BaseModel, name: str, value: Any, fits: bool) -> None:
    if not fits:
        raise DefinitionError(
            f"{type(model).__name__}.init_model passed {value!r} as the {name} to super().init_model; "
            "it takes (network, criterion, optimizer), a torch module, a loss and a torch optimizer"
        )
