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

from helixband.training.epochs import whole_share
from helixband.training.options import TrainingOptions
from helixband.training.parts.constrain import Constrain

Moment = Callable[[], tuple[int, int]]
"""The epoch and the optimizer step of now, both from 0."""


class Average:
    """The average of a network's parameters. Buffers, such as statistics of BatchNorm, are not averaged.

    With `ema_decay` it is a moving average over optimizer steps: the first takes the weights as they are,
    each later one decay times the average and (1 - decay) times the weights, frozen ones too. Of several
    optimizers, those count for a weight that update it. With `swa_start` it is the mean of the weights at the
    ends of the epochs after that share of all. In use, the constraints hold for it.
    """

    def __init__(self, options: TrainingOptions, network: nn.Module, moment: Moment) -> None:
        self._network, self._moment = network, moment
        self._options = options
        self._hold = Constrain(options.constraints, network) if options.constraints else None
        self.by_step = options.ema_decay is not None
        renew, has_any = options.renew_batch_norm, any(isinstance(m, _NormBase) for m in network.modules())
        self.renews_batch_norm = has_any and (not self.by_step if renew is None else renew)
        self.total_epochs = 1
        """Of the whole training, of which the mean takes a share."""
        self.count = 0
        """How many states of the weights were averaged."""
        self._averages: dict[str, Tensor] = {}

    @functools.cached_property
    def _weights(self) -> dict[str, nn.Parameter]:
        # Not before the first step, as lazy layers have none before.
        parameters = self._network.named_parameters()
        return {name: value for name, value in parameters if value.is_floating_point()}

    @property
    def tensors(self) -> list[Tensor]:
        """The averages, which steps change in place."""
        return list(self._averages.values())

    def by_name(self) -> dict[str, Tensor]:
        """The averages by the names of parameters, in the order of these."""
        return {name: self._averages[name] for name in self._weights if name in self._averages}

    @property
    def begun(self) -> bool:
        """Whether there is an average yet."""
        return self.count > 0

    @torch.no_grad()
    def __call__(self, stepped: Iterable[Tensor] | None = None) -> None:
        """Take the weights after an optimizer step into a moving average; with `stepped`, those of these."""
        weights = self._weights
        if stepped is not None:
            known = set(map(id, stepped))
            weights = {name: weight for name, weight in weights.items() if id(weight) in known}
        self._take(weights, 1 - self._options.at("ema_decay", self._moment()))

    def of_all(self, stepped: Iterable[Tensor] | None = None) -> None:
        """Take all weights after an optimizer step, whichever of them were updated."""
        self()

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Take the weights at the end of an epoch into the mean, once that has begun."""
        start = self._options.swa_start
        if start is not None and self._moment()[0] >= whole_share(start, self.total_epochs):
            self._take(self._weights, 1 / (self.count + 1))

    def _take(self, weights: Mapping[str, Tensor], share: float) -> None:
        begun = {name: self._averages[name] for name in weights if name in self._averages}
        if begun:
            torch._foreach_lerp_(list(begun.values()), [weights[name] for name in begun], share)
        new = {name: weight.detach().clone() for name, weight in weights.items() if name not in begun}
        self._averages |= new
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
            for name, average in self._averages.items():
                self._weights[name].copy_(average)
            if self._hold is not None:
                self._hold()
        try:
            yield
        finally:
            with torch.no_grad():
                for value, now in zip(before, changed, strict=True):
                    now.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """How many were averaged, and the averages by the names of the parameters."""
        return {"count": self.count, "averages": self.by_name()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave; raises `ValueError` where it is of another network."""
        averages, weights = state["averages"], self._weights
        if any(name not in weights or weights[name].shape != each.shape for name, each in averages.items()):
            raise ValueError("the averages are of other parameters than the network has")
        self.count = state["count"]
        self._averages = {name: each.to(weights[name].device) for name, each in averages.items()}


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
