"""Parameters that are not trained for the first epochs, as those of a pretrained encoder under a new head."""

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from helixband.errors import DefinitionError
from helixband.training.modes import Modes
from helixband.training.parameters import matching


class Freeze:
    """Freezes parameters of a network until an epoch, by globs on their names; the first that matches counts.

    A frozen parameter gets no gradient, so that the optimizer leaves it as it is. A normalisation by the
    batch whose parameters are all frozen is in evaluation mode, so that its statistics stay, too; one without
    parameters, if a glob matches its statistics. What the definition has frozen itself stays so.

    Raises `DefinitionError` for a glob that matches nothing, or nothing that an earlier one leaves to it, and
    where the first epoch would train nothing.
    """

    def __init__(self, network: nn.Module, until: Mapping[str, int], modes: Modes) -> None:
        parameters = dict(network.named_parameters())
        epochs: dict[str, int] = {}
        for glob, epoch in until.items():
            found = [name for name in matching(glob, list(parameters), "freeze") if name not in epochs]
            if not found:
                raise DefinitionError(
                    f"freeze: all that {glob!r} matches belongs to the globs before it: put it before them"
                )
            epochs |= dict.fromkeys(found, epoch)
        self._until = [(each, epochs.get(name, 0)) for name, each in parameters.items() if each.requires_grad]
        if all(epoch for _, epoch in self._until):
            raise DefinitionError(
                f"freeze is {dict(until)}: it leaves no parameter of the network to train in the first epoch"
            )
        by_definition = {name: math.inf for name, each in parameters.items() if not each.requires_grad}
        known = {id(parameters[name]): epoch for name, epoch in {**by_definition, **epochs}.items()}
        self._norms = []
        for name, module in network.named_modules():
            if isinstance(module, _NormBase):
                own = [known.get(id(each), 0) for each in module.parameters(recurse=False)]
                self._norms.append((module, min(own) if own else _of_statistics(name, module, until)))
        self._modes = modes

    def begin_epoch(self, epoch: int) -> None:
        """Freeze what is frozen in an epoch, from 0, and nothing else."""
        for parameter, until in self._until:
            if until:
                parameter.requires_grad_(epoch >= until)
                if epoch < until:
                    parameter.grad = None
        # What the definition alone has frozen is in the mode that it would have without this part.
        self._modes.keep_in_evaluation([module for module, until in self._norms if epoch < until < math.inf])


def _of_statistics(name: str, module: nn.Module, until: Mapping[str, int]) -> int:
    """Until when a normalisation without parameters is frozen: by the first glob for its statistics."""
    statistics = [f"{name}.{each}" for each, _ in module.named_buffers(recurse=False)]
    globs = (glob for glob in until if any(fnmatchcase(each, glob) for each in statistics))
    return until.get(next(globs, ""), 0)
