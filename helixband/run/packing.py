"""`--pack auto`: whether trials train faster together, by a short timing before the search begins."""

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from base_model import BaseModel, choose_device
from helixband.definition.classes import lightning_module
from helixband.generators.base import BatchGenerator
from helixband.run.context import Context, Stage
from helixband.run.trying import left_as_it_was
from helixband.run.values import AUTO
from helixband.search.executors.task import Document
from helixband.search.executors.trial import Trainer
from helixband.search.executors.workers import threads_of
from helixband.training import snapshot
from helixband.training.member import Member
from helixband.training.passes import train_pass
from helixband.training.reading import keeps_iterator
from helixband.training.steps.captured import Captured
from helixband.training.steps.eager import Eager
from helixband.training.steps.stepper import Stepper

SLOTS = 8
"""So many trials together have the configurations of the plain search, whatever they give."""
STEPS, ROUNDS = 20, 5
"""Each trial takes so many steps in a pass. Before the rounds that count is one in which packs are made."""
GAIN = 0.9
"""Packed trials have to take less than this share of the time: else it is not worth other last digits."""

FLAG = f"--pack {AUTO}"

Way = Callable[[list[Member]], Callable[[], None]]


class Packing(Stage):
    """Times the steps of the first trials, alone and together, with models that are thrown away."""

    def __init__(self, context: Context, trainer: Trainer) -> None:
        super().__init__(context)
        self._trainer = trainer
        self._of_data = self.args.data, self.args.batch_size
        self._on_gpu = choose_device(self.args.cpu).type == "cuda"

    def slots(self, configs: Sequence[Document]) -> int | None:
        """How many trials are to train together, or None, given the first configurations; says why."""
        module = self.definition.module
        if module.Model.fit is not BaseModel.fit:
            name = lightning_module(module, self.definition.given)
            why = f"{name} gives a LightningModule" if name else "the Model has a fit of its own"
            return self._told(None, why)
        if len(configs) < 2:
            return self._told(None, "the search has one trial")
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(threads_of(self.args))
            with left_as_it_was(self.progress.say, "trials were timed", "--pack off"):
                share = self._share(configs)
        except Exception as error:  # of a step of the definition: any; the search tells it as the trial's
            return self._told(None, f"a step of the first trials failed ({type(error).__name__}: {error})")
        finally:
            torch.set_num_threads(threads)
        told = f"{len(configs)} trials together take {share:.2f} of their time one after another"
        return self._told(SLOTS if share < GAIN else None, told)

    def _told(self, slots: int | None, why: str) -> int | None:
        self.progress.say(f"{FLAG}: {f'up to {slots} trials together' if slots else 'off'}, as {why}")
        return slots

    def _share(self, configs: Sequence[Document]) -> float:
        """The time that trials take together, as a share of theirs one after another; raises what one raises.

        It is the median over rounds of both, so that other work on the machine counts for both.
        """
        with snapshot.left_as_it_was(self.definition.training_data(*self._of_data)):
            ways = [self._passes(configs, self._together), self._passes(configs, self._alone)]
            rounds = [[take_pass() for take_pass in ways] for _ in range(1 + ROUNDS)]
        return statistics.median(together / alone for together, alone in rounds[1:])

    def _passes(self, configs: Sequence[Document], way: Way) -> Callable[[], float]:
        """A function that takes a pass of the trials, and gives its seconds."""
        members = [self._member(config) for config in configs]
        run = way(members)

        def take_pass() -> float:
            began = time.perf_counter()
            run()
            if self._on_gpu:
                torch.cuda.synchronize()
            seconds = time.perf_counter() - began
            for member in members:
                member.raise_error()
            return seconds

        return take_pass

    def _together(self, members: list[Member]) -> Callable[[], None]:
        stepper = Captured()
        return lambda: train_pass(members, stepper)

    def _alone(self, members: list[Member]) -> Callable[[], None]:
        stepper: Stepper = Captured() if self._on_gpu else Eager()

        def one_after_another() -> None:
            for member in members:
                train_pass([member], stepper)

        return one_after_another

    def _member(self, config: Document) -> Member:
        train, val = self._data()
        member: Member = self._trainer.passing_model(config, train).as_member(train, val, 1)
        member.limit = min(member.limit or STEPS, STEPS)
        member.begin()
        return member

    def _data(self) -> tuple[Iterable[Any], Iterable[Any]]:
        """The training and validation data: generators of ours that all members share, or else their own."""
        train, val = self.definition.training_data(*self._of_data)
        if isinstance(train, BatchGenerator) and keeps_iterator(train):
            train, _ = self.definition.training_set(*self._of_data)
        return train, val
