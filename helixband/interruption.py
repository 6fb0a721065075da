"""Ctrl-C and SIGTERM end a run at once, and are not lost where Python drops them.

An exception that a signal handler raises within a callback (after a fork, in a finalizer) is printed and
forgotten by Python; the handler therefore also leaves a note, which training reads at each step.
"""

import os
import signal
from types import FrameType

_pending: list[int] = []


def install() -> None:
    """Have SIGINT and SIGTERM raise `KeyboardInterrupt(number)` in this process, and not in its children."""
    process = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process and number == signal.SIGINT:
            raise KeyboardInterrupt  # as Python does by itself, which data loaders' workers count on
        if os.getpid() != process:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if number == signal.SIGTERM and number in _pending:
            return  # schedulers send several, and what the run stores after the first is not to be disturbed
        _pending.append(number)
        raise KeyboardInterrupt(number)

    _pending.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell has it for a job behind it
            signal.signal(number, handle)


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
