"""`--batch-size auto`: the largest batch with which a training step fits on the GPU."""

import contextlib
import gc
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import torch

from base_model import BaseModel, choose_device
from helixband.definition import Definition
from helixband.definition.classes import lightning_module
from helixband.errors import DefinitionError, HelixbandError, UsageError
from helixband.run.context import Context, Stage
from helixband.run.trying import left_as_it_was
from helixband.run.values import AUTO, BATCH_SIZE
from helixband.search.executors.task import Document
from helixband.search.executors.trial import Trainer, is_out_of_memory
from helixband.search.samplers.choice import make_sampler
from helixband.search.samplers.evidence import Evidence
from helixband.search.space import configurations
from helixband.training import rehearsal
from helixband.training.feed import iterate, number_of_examples

HELD_BACK = 0.1
"""This share of the GPU's free memory stays unused: later steps may take a little more than the first."""

FLAG = f"--batch-size {AUTO}"


def check_auto(args: Namespace, definition: Definition, trains: bool) -> None:
    """Raise an error where a batch size is still to be found, and cannot be."""
    if args.batch_size != AUTO:
        return
    if not trains:
        raise UsageError(f"{FLAG}: nothing is to be trained here; give a number, or leave it out")
    check_device(args.cpu)
    if getattr(definition.module.Model, "fit", None) is not BaseModel.fit:
        name = lightning_module(definition.module, definition.given)
        why = f"{name} gives a LightningModule" if name else "Model.fit is the definition's own"
        raise DefinitionError(f"{why}, and {FLAG} tries a step of Helixband's: give a number")


def first_configs(definition: Definition, args: Namespace, given: Document, count: int) -> list[Document]:
    """The configurations with which a search begins, `count` at most; `given` are its "try" and "set".

    They are those that are drawn without results of others, at least one.
    """
    found = [dict(each) for each in given.get("try", ())][:count]
    get_config = configurations(definition, given.get("set", {}), args.seed, searches=True)
    sampler = make_sampler(args.sampler, get_config, args.seed)
    while len(found) < count and (drawn := sampler.suggest(len(found), Evidence(), found)) is not None:
        found.append(drawn)
    return found


class BatchSize(Stage):
    """Finds the largest batch, with models that are thrown away."""

    def __init__(self, context: Context, trainer: Trainer) -> None:
        super().__init__(context)
        self._trainer = trainer
        self._fits = 0
        """The most examples that were found to fit."""
        self._examples: int | None = None
        """Those of the training set, where they are known."""

    def find(self, config: Document) -> None:
        """Have `args.batch_size` be the largest for a model of this configuration, and say so.

        Raises `UsageError` where not even one example fits, or where batches do not follow `batch_size`. What
        else goes wrong in a step is raised as it is, with the batch that was tried.
        """
        tries = left_as_it_was(self.progress.say, "batches were tried", "a number")
        with tries, _held_back(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the training gives them again
            found, is_all = largest(lambda rows: self._step(config, rows), BATCH_SIZE)
        if not found:
            raise UsageError(
                f"{FLAG}: a training step with one example does not fit on the GPU with the configuration "
                f"{self.progress.show_config(config)}: take a smaller network or shorter examples, or use "
                "--cpu with a number"
            )
        self._asked(found)
        why = "the whole training set" if is_all else "one more does not, as a tenth of memory is held back"
        self.progress.say(f"{FLAG}: a training step fits with batches of {found:,} ({why})")

    def _asked(self, rows: int) -> int:
        """So many rows, or those of the whole training set, as what is asked of the definition."""
        rows = min(rows, self._examples or rows)
        self.args.batch_size = rows
        self.definition.arguments = (self.args.data, rows)
        return rows

    def _step(self, config: Document, rows: int) -> tuple[int, bool] | None:
        """(its examples, whether they are the whole training set) of a batch that was trained on.

        It is asked for with so many rows. None where memory does not suffice.
        """
        rows = self._asked(rows)
        found: tuple[int, bool] | None = None
        try:
            found = self._trained(config, rows)
        except UsageError:
            raise
        except HelixbandError as error:
            told = type(error)(f"{error} ({self._account()})")
            raise told.with_traceback(error.__traceback__) from error
        except Exception as error:
            if not is_out_of_memory(error):
                error.add_note(self._account())
                raise
        _free()  # here, where nothing holds the model any more
        self._fits = self._fits if found is None else found[0]
        return found

    def _trained(self, config: Document, rows: int) -> tuple[int, bool]:
        train, _ = self.definition.training_set(self.args.data, rows)
        self._examples = number_of_examples(train)
        if rows > (self._examples or rows):
            return self._trained(config, self._asked(rows))
        model = self._trainer.passing_model(config, train)
        used = rehearsal.step(model, train)
        if used == rows:
            return used, used == self._examples
        if used > rows or _has_another(train):
            raise UsageError(
                f"{FLAG}: get_train_generator gave a batch of {used:,} examples for a batch_size of "
                f"{rows:,}: have its batches follow batch_size, or give a number"
            )
        return used, True

    def _account(self) -> str:
        rows, fits = self.args.batch_size, f"; {self._fits:,} fit" if self._fits else ""
        return (
            f"in a training step with a batch of {rows:,} examples, which {FLAG} tried{fits}: give a number"
        )


def largest(step: Callable[[int], tuple[int, bool] | None], start: int) -> tuple[int, bool]:
    """The largest number that fits, found by doubling and bisection, and whether it is the whole set.

    `step` gives what it has tried, which is less where the set has no more, and whether that is the whole
    set; None where it does not fit. 0 where 1 does not.

    >>> largest(lambda rows: (rows, False) if rows <= 700 else None, 100)
    (700, False)
    >>> largest(lambda rows: (min(rows, 350), rows >= 350), 100)
    (350, True)
    """
    fits, size = 0, start
    while (found := step(size)) is not None:
        fits, is_all = found
        if is_all:
            return fits, True
        size = 2 * fits
    fails = size
    while fails - fits > 1:
        size = (fits + fails) // 2
        found = step(size)
        if found is None:
            fails = size
        elif found[1]:
            return found
        else:
            fits = size
    return fits, False


def check_device(cpu: bool) -> None:
    """Raise `UsageError` where there is no GPU, whose memory is the limit."""
    if choose_device(cpu).type != "cuda":
        raise UsageError(
            f"{FLAG} finds what fits into the memory of a GPU, and there is none to use here: give a number"
        )


def _has_another(train: Iterable[Any]) -> bool:
    """Whether there is a second batch."""
    return any(True for _ in islice(iterate(train), 1, 2))


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Around the tries: of the GPU's free memory, a part cannot be used."""
    if not torch.cuda.is_available():
        yield
        return
    _free()
    free, total = torch.cuda.mem_get_info()
    before = torch.cuda.get_per_process_memory_fraction()
    usable = (1 - HELD_BACK) * (free + torch.cuda.memory_reserved()) / total
    torch.cuda.set_per_process_memory_fraction(min(before, usable))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(before)


def _free() -> None:
    """Give back the GPU's memory that nothing uses any more."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
