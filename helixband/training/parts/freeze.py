"""Parameters that are not trained for the first epochs, as those of a pretrained encoder under a new head."""

from collections.abc import Mapping

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from helixband.errors import DefinitionError
from helixband.training.modes import Modes
from helixband.training.parameters import matching


class Freeze:
    """Freezes parameters of a network until an epoch, by globs on their names; the first that matches counts.

    A frozen parameter gets no gradient, so that the optimizer leaves it as it is. A normalisation by the
    batch whose parameters are all frozen is in evaluation mode, so that its statistics stay, too. What the
    definition has frozen itself stays so.

    Raises `DefinitionError` for a glob that matches nothing, and where the first epoch would train nothing.
    """

    def __init__(self, network: nn.Module, until: Mapping[str, int], modes: Modes) -> None:
        parameters = {name: each for name, each in network.named_parameters() if each.requires_grad}
        names = [name for name, _ in network.named_parameters()]
        epochs = {
            name: epoch
            for glob, epoch in reversed(list(until.items()))
            for name in matching(glob, names, "freeze")
        }
        self._until = [(each, epochs.get(name, 0)) for name, each in parameters.items()]
        if all(epoch for _, epoch in self._until):
            raise DefinitionError(
                f"freeze is {dict(until)}: it leaves no parameter of the network to train in the first epoch"
            )
        known = dict((id(each), epoch) for each, epoch in self._until)
        self._norms = [
            (module, min(known.get(id(each), 0) for each in module.parameters(recurse=False)))
            for module in network.modules()
            if isinstance(module, _NormBase) and any(True for _ in module.parameters(recurse=False))
        ]
        self._modes = modes

    def begin_epoch(self, epoch: int) -> None:
        """Freeze what is frozen in an epoch, from 0, and nothing else."""
        for parameter, until in self._until:
            if until:
                parameter.requires_grad_(epoch >= until)
                if epoch < until:
                    parameter.grad = None
        self._modes.keep_in_evaluation([module for module, until in self._norms if epoch < until])
