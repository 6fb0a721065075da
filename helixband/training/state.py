"""The state of a training: all that its next epoch depends on, as a checkpoint holds it."""

from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from helixband import randomness
from helixband.errors import StorageError
from helixband.nested import map_leaves
from helixband.training.schedules import Schedule


@runtime_checkable
class Stateful(Protocol):
    """A generator of the user's with state between epochs, as `torchdata`'s `StatefulDataLoader`."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def capture(
    network: nn.Module, optimizer: Optimizer, scheduler: LRScheduler | None, generator: Any
) -> dict[str, Any]:
    """The state of these and of the global random numbers, copied to the CPU."""
    return {
        "network": copied(network.state_dict()),
        "optimizer": copied(optimizer.state_dict()),
        "scheduler": copied(scheduler.state_dict()) if scheduler else None,
        "generator": copied(generator.state_dict()) if isinstance(generator, Stateful) else None,
        "random": randomness.get_state(),
    }


def restore(
    state: dict[str, Any],
    network: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler | None,
    generator: Any,
    where: str,
) -> None:
    """Put back what `capture` gave; raises `StorageError` naming `where` where it does not fit."""
    load_weights(network, state, where)
    try:
        optimizer.load_state_dict(copied(state["optimizer"]))
    except ValueError as error:
        raise StorageError(f"{where} does not fit the optimizer of this definition: {error}") from error
    if scheduler is not None:
        scheduler.load_state_dict(copied(state["scheduler"]))
    if isinstance(generator, Stateful):
        generator.load_state_dict(state["generator"])
    randomness.set_state(state["random"])


def load_weights(network: nn.Module, state: dict[str, Any], where: str) -> None:
    """The weights of a state into a network; raises `StorageError` where they do not fit."""
    try:
        network.load_state_dict(state["network"])
    except (RuntimeError, KeyError) as error:
        raise StorageError(f"{where} does not fit the network of this definition: {error}") from error


def copied(state: dict[str, Any]) -> dict[str, Any]:
    """A state with its tensors copied to the CPU, and schedules as plain numbers."""

    def copy(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return leaf.detach().to("cpu", copy=True)
        return float(leaf) if isinstance(leaf, Schedule) else leaf

    return dict(map_leaves(copy, dict(state)))
