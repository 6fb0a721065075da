"""Several optimizers of one model, which its `train_step` steps in turn, as one optimizer to the rest."""

import difflib
from collections.abc import Mapping
from typing import Any, NoReturn

from torch.optim import Optimizer

from helixband.errors import DefinitionError, in_one_line


class Optimizers(Optimizer):
    """Optimizers by name. `optimizers["name"]` is one; the groups of parameters are those of all, in turn.

    Raises `DefinitionError` for a dict that holds anything else.
    """

    def __init__(self, by_name: Mapping[str, Optimizer]) -> None:
        for name, optimizer in by_name.items():
            if type(name) is not str or not isinstance(optimizer, Optimizer):
                raise DefinitionError(
                    f"optimizer[{name!r}] is {in_one_line(optimizer)}; a dict of optimizers has names, and "
                    "optimizers of torch"
                )
        if not by_name:
            raise DefinitionError("optimizer is an empty dict; give it one optimizer at least")
        self._by_name = dict(by_name)
        self.first = next(iter(by_name))
        """The name of the one whose steps are counted."""

    def __getitem__(self, name: Any) -> Optimizer:
        if name not in self._by_name:
            near = difflib.get_close_matches(str(name), self._by_name, 1)
            meant = f"did you mean {near[0]!r}? " if near else ""
            raise DefinitionError(f"there is no optimizer {name!r}: {meant}There are: {self.names}")
        return self._by_name[name]

    @property
    def each(self) -> list[Optimizer]:
        """The optimizers, in their order."""
        return list(self._by_name.values())

    @property
    def names(self) -> str:
        """What they are called."""
        return ", ".join(self._by_name)

    @property
    def kinds(self) -> str:
        """What they are."""
        return ", ".join(f"{name}: {type(each).__name__}" for name, each in self._by_name.items())

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The groups of all; a group is changed in place."""
        return [group for each in self._by_name.values() for group in each.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of all."""
        for each in self._by_name.values():
            each.zero_grad(set_to_none)

    def step(self, closure: Any = None) -> NoReturn:
        """Raise `DefinitionError`: they are stepped by name."""
        raise DefinitionError(
            f"self.optimizer is several: step one by name, self.optimizer_step(…) with one of {self.names}"
        )

    def state_dict(self) -> dict[str, Any]:
        """The states by name."""
        return {name: each.state_dict() for name, each in self._by_name.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put back what `state_dict` gave; raises `ValueError` where the names are others."""
        if state_dict.keys() != self._by_name.keys():
            raise ValueError(f"the optimizers there are {', '.join(state_dict)}, and here {self.names}")
        for name, each in self._by_name.items():
            each.load_state_dict(state_dict[name])
