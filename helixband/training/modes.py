"""The modes of a model's modules, set at each step so that no module is left in another one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase


class Modes:
    """The modes of a network and, where it is a module, its criterion."""

    def __init__(self, network: nn.Module, criterion: Any) -> None:
        self._network = network
        self._parts = [part for part in (network, criterion) if isinstance(part, nn.Module)]
        self._modules = [module for part in self._parts for module in part.modules()]
        self._fixed: list[nn.Module] = []
        self._was_asked = False
        """Whether the parts were set to training once: a `train` of theirs may leave some in evaluation."""
        self.is_sampling = False
        """Whether evaluation leaves dropout on."""

    def keep_in_evaluation(self, modules: Sequence[nn.Module]) -> None:
        """From here on, leave these modules in evaluation mode in training, too, and no others."""
        left_out = {id(module) for module in modules}
        every = (module for part in self._parts for module in part.modules())
        self._modules = [module for module in every if id(module) not in left_out]
        self._fixed = list(modules)
        for module in modules:
            module.eval()

    def train(self) -> None:
        """Training mode."""
        # Asking first costs a tenth of setting.
        if not self._was_asked or any(not module.training for module in self._modules):
            self._was_asked = True
            for part in self._parts:
                part.train()
            for fixed in self._fixed:
                fixed.eval()

    def eval(self) -> None:
        """Evaluation mode, or within `dropout_left_on` that of Monte Carlo dropout."""
        for part in self._parts:
            part.eval()
        if self.is_sampling:
            # Training mode is what turns any kind of dropout on; it is not for normalisations by the batch.
            self._network.train()
            for module in self._network.modules():
                if isinstance(module, _NormBase):
                    module.eval()

    @contextmanager
    def dropout_left_on(self) -> Iterator[None]:
        """Evaluation leaves dropout on."""
        self.is_sampling = True
        try:
            yield
        finally:
            self.is_sampling = False
