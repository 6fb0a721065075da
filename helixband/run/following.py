"""A run by several processes: process 0 does its work, and the others follow it through a training.

The followers print nothing and leave no files. What goes wrong with one is told by process 0.
"""

import contextlib
import os
import sys
import tempfile
import traceback
import warnings
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from base_model import choose_device
from helixband.definition import Definition, load_definition
from helixband.env import number_of_processes
from helixband.errors import HelixbandError
from helixband.results.directory import Results
from helixband.search.executors.trial import Trainer
from helixband.training import processes
from helixband.training.processes import Processes, exit_code


@dataclass(frozen=True)
class Work:
    """The training of a trial to so many epochs, along the plan that it was begun with, if it was."""

    args: Namespace
    name: str
    config: dict[str, Any]
    epochs: int
    plan: dict[str, Any] | None


@contextlib.contextmanager
def leading(ours: Processes) -> Iterator[None]:
    """Around the work of process 0: the others learn how it ends."""
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:
        error = raised
        # Where another process has failed, torchrun ends this one by a signal, if it is not first to notice.
        if isinstance(raised, KeyboardInterrupt) and (failure := ours.failure()) is not None:
            error = failure
            raise failure from None
        raise
    finally:
        ours.end(exit_code(error))


@contextlib.contextmanager
def accompanied(work: Work) -> Iterator[None]:
    """Around a training by process 0: the others take part in it, where there are some."""
    if (ours := processes.ours()) is None:
        yield
        return
    ours.give(work)
    with ours.connected(choose_device(work.args.cpu)):
        yield


def begin(args: Namespace) -> str:
    """Take this process's GPU, where GPUs are used; a line on the processes, "" of one alone."""
    on_gpu = choose_device(args.cpu).type == "cuda"
    if (ours := processes.ours()) is None:
        return ""
    if on_gpu:
        processes.take_gpu()
    return f"training by {ours.count} processes, each on {'a GPU of its own' if on_gpu else 'the CPU'}"


def under_torchrun(command: Sequence[str]) -> list[str]:
    """The command of one of several processes as torchrun takes it; that of one alone as it is."""
    if processes.ours() is None:
        return list(command)
    python, *words = command
    if words[:1] == ["-u"]:  # which torchrun gives itself
        del words[0]
    each = os.environ.get("LOCAL_WORLD_SIZE", str(number_of_processes()))
    return [python, "-m", "torch.distributed.run", "--nproc-per-node", each, *words]


def follow(ours: Processes) -> None:
    """Be another process than 0, from its beginning to its end; `SystemExit` where that is an early one."""
    told: str | None = None
    with _silent():
        definition: list[Definition] = []
        try:
            work = ours.work()
            if work is not None:
                begin(work.args)
                with ours.connected(choose_device(work.args.cpu)):
                    definition.append(load_definition(work.args.model, work.args.seed))
                    _take_part(work, definition[0])
            code = ours.wait_for_end()
        except BaseException as error:
            code, told = exit_code(error), ours.fail(error, _account(error, definition))
    if told is not None:
        print(f"error: {told}", file=sys.stderr)
    if code:
        raise SystemExit(code)


def _take_part(work: Work, definition: Definition) -> None:
    with tempfile.TemporaryDirectory() as empty:
        results = Results(empty)
        with results.only_read("process 0 alone writes results"):
            Trainer(definition, results, work.args).take_part(work.name, work.config, work.epochs, work.plan)


def _account(error: BaseException, definition: list[Definition]) -> str:
    for each in definition:
        if isinstance(error, Exception):
            error = each.explain(error)
    if isinstance(error, HelixbandError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "stopped by a signal, perhaps because process 0 was killed; the same command goes on from here"
    return "".join(traceback.format_exception(error)).rstrip()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Nothing is printed, by a definition neither, and no warning given: process 0 does so for all."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
