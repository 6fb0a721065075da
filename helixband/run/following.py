"""A run by several processes: process 0 does its work, and the others follow it through a training."""

import contextlib
import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence

from base_model import choose_device
from helixband.definition import Definition, load_definition
from helixband.env import number_of_processes
from helixband.search.executors.followers import account_of, silent, take_part
from helixband.search.executors.trial import Part
from helixband.training import processes
from helixband.training.processes import Processes, exit_code


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
def accompanied(args: Namespace, part: Part) -> Iterator[None]:
    """Around a training by process 0: the others take part in it, where there are some."""
    if (ours := processes.ours()) is None:
        yield
        return
    ours.give((args, part))
    with ours.connected(choose_device(args.cpu)):
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
    definition: Definition | None = None
    with silent():
        try:
            work = ours.work()
            if work is not None:
                args, part = work
                begin(args)
                with ours.connected(choose_device(args.cpu)):
                    definition = load_definition(args.model, args.seed)
                    take_part(definition, args, part)
            code = ours.wait_for_end()
        except BaseException as error:
            code, told = exit_code(error), ours.fail(error, account_of(error, definition))
    if told is not None:
        print(f"error: {told}", file=sys.stderr)
    if code:
        raise SystemExit(code)
