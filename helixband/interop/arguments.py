"""The arguments of a Trainer that a definition gives: what a run decides, and what Lightning refuses."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from helixband.errors import DefinitionError, in_one_line

RESERVED = {
    "max_epochs": "--epoch says it",
    "ckpt_path": "the same command goes on with a training, and --load-checkpoint begins with weights",
    "fast_dev_run": "--debug runs two batches of one epoch, and --dry-run checks alone",
    "barebones": "it logs nothing, and a run compares what is logged",
}
"""Arguments of a Trainer that a run decides, with what does it instead."""
OF_SEVERAL = ("PL_GLOBAL_SEED", "OMP_NUM_THREADS")
"""Variables that are set for a training by several processes alone."""


def taken(given: Any, package: Any) -> tuple[dict[str, Any], list[Any], list[Any]]:
    """(the arguments for a Trainer, its callbacks, its plugins), as a run takes them.

    A run shows the progress and keeps checkpoints by itself. So it has no progress bar of the callbacks
    unless `enable_progress_bar` is true, and `enable_checkpointing=False` concerns no callback of ours.
    """
    if not isinstance(given, Mapping):
        raise DefinitionError(f"get_trainer returned {in_one_line(given)}; it has to return a dict")
    for name, instead in RESERVED.items():
        if given.get(name):
            raise DefinitionError(f"get_trainer gives {name}={given[name]!r}: leave it out, for {instead}")
    given = {name: value for name, value in given.items() if name not in RESERVED}
    callbacks, plugins = listed(given.pop("callbacks", None)), listed(given.pop("plugins", None))
    for each in callbacks:
        if not isinstance(each, package.callbacks.Callback):
            raise DefinitionError(
                f"get_trainer gives the callback {in_one_line(each)}, a {type(each).__module__}."
                f"{type(each).__qualname__}; it has to be a Callback of {package.__name__}, as the module is"
            )
    if not given.get("enable_progress_bar"):
        callbacks = [each for each in callbacks if not isinstance(each, package.callbacks.ProgressBar)]
    if given.pop("enable_checkpointing", None) is False:
        for each in callbacks:
            if is_checkpoint(each, package):
                raise DefinitionError(
                    f"get_trainer gives enable_checkpointing=False and a {type(each).__name__}: leave out one"
                )
    return given, callbacks, plugins


def listed(given: Any) -> list[Any]:
    """One thing, several, or None, as a list."""
    return list(given) if isinstance(given, list | tuple) else [] if given is None else [given]


def is_checkpoint(callback: Any, package: Any) -> bool:
    """Whether a callback writes checkpoints."""
    return isinstance(callback, package.callbacks.Checkpoint)


def apart(callbacks: list[Any], given: Mapping[str, Any], name: str) -> None:
    """Have those that write checkpoints do so in a folder of the trial `name` of a search.

    What is beside a logger is apart already.
    """
    for each in callbacks:
        if getattr(each, "dirpath", None) is not None:
            each.dirpath = os.path.join(each.dirpath, name)
        elif hasattr(each, "dirpath") and not given.get("logger"):
            each.dirpath = os.path.join(given.get("default_root_dir") or os.getcwd(), "checkpoints", name)


def check_processes(trainer: Any, package: Any) -> None:
    """Raise `DefinitionError` where a Trainer would train as a run cannot: on several nodes, or in shards."""
    strategies = package.strategies
    if trainer.num_nodes > 1:
        raise DefinitionError(
            f"the Trainer would train on {trainer.num_nodes} nodes, and a run trains a module on one "
            "machine: give num_nodes=1. A search uses several nodes, one for each trial: --cluster"
        )
    if trainer.world_size > 1 and not isinstance(trainer.strategy, strategies.DDPStrategy):
        raise DefinitionError(
            f"the Trainer would train by {type(trainer.strategy).__name__} on {trainer.world_size} devices, "
            "and of several a run takes the state of a training by DDP alone, where each has all weights: "
            "give strategy='ddp', or devices=1"
        )
    if getattr(trainer.strategy, "_layer_sync", None) and trainer.strategy.root_device.type == "cpu":
        raise DefinitionError("the Trainer has sync_batchnorm=True, which is for GPUs: leave it out on CPUs")


def leave_to_the_run(trainer: Any, package: Any) -> None:
    """Have a Trainer start no processes and answer no signals."""
    trainer._signal_connector.register_signal_handlers = _nothing  # theirs wait for the other processes
    if isinstance(trainer.strategy, package.strategies.DDPStrategy):
        trainer.strategy._start_method = "popen"  # which starts none where they are there
        trainer.strategy._configure_launcher()


def _nothing() -> None:
    pass


def of_one_device(trainer: Any) -> dict[str, Any]:
    """The arguments with which a Trainer uses the first of the devices of another one alone."""
    is_cpu = trainer.strategy.root_device.type == "cpu"
    return {"devices": 1 if is_cpu else [trainer.device_ids[0]], "num_nodes": 1, "strategy": "auto"}


def check_validates(trainer: Any, epochs: int, total: int) -> None:
    """Raise `DefinitionError` where a rung, to `epochs` of `total`, has no validation to end with."""
    every = trainer.check_val_every_n_epoch
    if every and epochs < min(every, total):
        raise DefinitionError(
            f"check_val_every_n_epoch={every}, and a rung of the search ends at epoch {epochs} without a "
            "validation: set it to 1, or give --schedule none"
        )


@contextlib.contextmanager
def of_several(seed: int) -> Iterator[None]:
    """Around a training by several processes: Lightning orders examples by its seed, and limits threads."""
    before, threads = {name: os.environ.get(name) for name in OF_SEVERAL}, torch.get_num_threads()
    os.environ.setdefault("PL_GLOBAL_SEED", str(seed % 2**32))
    try:
        yield
    finally:
        for name, text in before.items():
            os.environ.pop(name, None)
            if text is not None:
                os.environ[name] = text
        torch.set_num_threads(threads)


@contextlib.contextmanager
def made(package: Any) -> Iterator[None]:
    """Around the making of a Trainer: tell what it refuses as `DefinitionError`."""
    try:
        with refused(package):
            yield
    except (TypeError, ValueError, ModuleNotFoundError) as error:
        raise DefinitionError(f"Lightning's Trainer cannot be made: {error}") from error


@contextlib.contextmanager
def refused(package: Any) -> Iterator[None]:
    """Around work of a Trainer: tell as `DefinitionError` what Lightning or a callback of it refuses."""
    try:
        yield
    except package.utilities.exceptions.MisconfigurationException as error:
        raise DefinitionError(f"Lightning's Trainer refuses this: {error}") from error
    except RuntimeError as error:
        if _raiser(error).startswith(f"{package.__name__}.callbacks."):
            raise DefinitionError(f"a callback of Lightning refuses this: {error}") from error
        raise


def _raiser(error: BaseException) -> str:
    """The name of the module that raised an exception."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
