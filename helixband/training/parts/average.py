"""Averages of a network's weights over a training, with which it is validated and used.

EMA: Polyak and Juditsky 1992, as an exponential moving average. SWA: Izmailov, Podoprikhin, Garipov, Vetrov
and Wilson, "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from helixband.training.options import TrainingOptions
from helixband.training.parts.constrain import Constrain
from helixband.training.schedules import Schedule

Moment = Callable[[], tuple[int, int]]
"""The epoch and the optimizer step of now, both from 0."""


class Average:
    """The average of a network's parameters. Buffers, such as statistics of BatchNorm, are not averaged.

    With `ema_decay` it is a moving average over optimizer steps: the first takes the weights as they are,
    each later one decay times the average and (1 - decay) times the weights. With `swa_start` it is the mean
    of the weights at the ends of the epochs after that share of all. In use, the constraints hold for it.
    """

    def __init__(self, options: TrainingOptions, network: nn.Module, moment: Moment) -> None:
        self._network, self._moment = network, moment
        self._decay, self._start = options.ema_decay, options.swa_start
        self._hold = Constrain(options.constraints, network) if options.constraints else None
        self.by_step = self._decay is not None
        renew, has_any = options.renew_batch_norm, any(isinstance(m, _NormBase) for m in network.modules())
        self.renews_batch_norm = has_any and (not self.by_step if renew is None else renew)
        self.total_epochs = 1
        """Of the whole training, of which the mean takes a share."""
        self.count = 0
        """How many states of the weights were averaged."""
        self._averages: list[Tensor] = []
        """In the order of `_weights`."""

    @functools.cached_property
    def _weights(self) -> dict[str, nn.Parameter]:
        # Not before the first step, as lazy layers have none before.
        parameters = self._network.named_parameters()
        return {name: value for name, value in parameters if value.is_floating_point()}

    @property
    def tensors(self) -> list[Tensor]:
        """The averages, which steps change in place."""
        return self._averages

    @property
    def begun(self) -> bool:
        """Whether there is an average yet."""
        return self.count > 0

    @torch.no_grad()
    def __call__(self) -> None:
        """Take the weights after an optimizer step into a moving average."""
        decay = self._decay
        assert decay is not None
        self._take(1 - (decay.at(*self._moment()) if isinstance(decay, Schedule) else decay))

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Take the weights at the end of an epoch into the mean, once that has begun."""
        if self._start is not None and self._moment()[0] >= int(self._start * self.total_epochs):
            self._take(1 / (self.count + 1))

    def _take(self, share: float) -> None:
        weights: list[Tensor] = list(self._weights.values())
        if self.count:
            torch._foreach_lerp_(self._averages, weights, share)
        else:
            self._averages = [weight.detach().clone() for weight in weights]
        self.count += 1

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The network has the averages, the constraints holding; afterwards its weights and buffers again.

        Where there is no average yet, it has its weights.
        """
        if not self.begun:
            yield
            return
        changed = [*self._weights.values(), *self._network.buffers()]
        with torch.no_grad():
            before = [value.detach().clone() for value in changed]
            _copy(self._averages, changed)
            if self._hold is not None:
                self._hold()
        try:
            yield
        finally:
            with torch.no_grad():
                _copy(before, changed)

    def state_dict(self) -> dict[str, Any]:
        """How many were averaged, and the averages by the names of the parameters."""
        averages = dict(zip(self._weights, self._averages, strict=True)) if self.begun else {}
        return {"count": self.count, "averages": averages}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave; raises `ValueError` where it is of another network."""
        averages, weights = state["averages"], self._weights
        shapes = {name: value.shape for name, value in averages.items()}
        if averages and shapes != {name: value.shape for name, value in weights.items()}:
            raise ValueError("the averages are of other parameters than the network has")
        self.count = state["count"]
        self._averages = [averages[name].to(weight.device) for name, weight in weights.items() if averages]


@torch.no_grad()
def renew_batch_norm(model: Any, batches: Iterable[Any]) -> None:
    """Compute the statistics of the network's BatchNorm anew from batches of x, on the device.

    It is `torch.optim.swa_utils.update_bn`, which leaves those that are frozen in evaluation mode.
    """
    model.engine.modes.train()
    modules = [each for each in model.network.modules() if isinstance(each, _BatchNorm) and each.training]
    momenta = [module.momentum for module in modules]
    for module in modules:
        module.reset_running_stats()
        module.momentum = None  # a mean over the batches, each counting alike
    try:
        for x in batches:
            model.forward(x)
    finally:
        for module, momentum in zip(modules, momenta, strict=True):
            module.momentum = momentum


def _copy(values: Iterable[Tensor], targets: Iterable[Tensor]) -> None:
    for value, target in zip(values, targets, strict=False):
        target.copy_(value)
