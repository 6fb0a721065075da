"""Ctrl-C and SIGTERM end a run at once, and are not lost where Python drops them.

An exception that a signal handler raises within a callback (after a fork, in a finalizer) is printed and
forgotten by Python; the handler therefore also leaves a note, which training reads at each step.
"""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

_pending: list[int] = []
_handlers: list[Callable[[int, FrameType | None], None]] = []
"""What answers signals here, and not in a fork."""
_held = threading.local()
"""The signals that a thread which forks did not get before."""


def install() -> None:
    """Have SIGINT and SIGTERM raise `KeyboardInterrupt(number)` in this process, and not in its children."""
    process = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process and number == signal.SIGINT:
            raise KeyboardInterrupt  # as Python does by itself, which data loaders' workers count on
        if number == signal.SIGTERM and number in _pending:
            return  # schedulers send several, and what the run stores after the first is not to be disturbed
        _pending.append(number)
        raise KeyboardInterrupt(number)

    _pending.clear()
    _handlers[:] = [handle]
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell has it for a job behind it
            signal.signal(number, handle)


def take_one() -> None:
    """Let no second SIGTERM disturb the writing of a state that the first has brought about."""
    handle: Any = signal.getsignal(signal.SIGTERM)

    def first(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        handle(number, frame)

    _handlers.append(first)
    signal.signal(signal.SIGTERM, first)


def ignore() -> None:
    """From here on, let no further signal disturb the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def forget() -> None:
    """Let what has stopped one run in this process stop no later one."""
    _pending.clear()


def asked() -> bool:
    """Whether the run is to end."""
    return bool(_pending)


def check() -> None:
    """Raise again what was asked for and got lost."""
    if _pending:
        raise KeyboardInterrupt(_pending[0])


def _hold() -> None:
    """Before a fork: SIGTERM waits, as Python forgets in a child what came before this could take it."""
    if signal.getsignal(signal.SIGTERM) in _handlers:
        _held.before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _let_go() -> None:
    """After it."""
    if hasattr(_held, "before"):
        signal.pthread_sigmask(signal.SIG_SETMASK, _held.before)
        del _held.before


def _let_go_in_child() -> None:
    """SIGTERM ends a child, as it does any process."""
    if hasattr(_held, "before"):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _let_go()


os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_let_go_in_child)
