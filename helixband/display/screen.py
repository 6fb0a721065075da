"""The screen of a terminal: lines that stay, and below them a frame that is drawn anew again and again.

A thread of its own is the only writer. Others leave their lines with it, among them whatever a definition
prints. So no two writers meet, and Ctrl-C, which is for the main thread, interrupts no writing.

The cursor waits on the frame's first line. What is above it is never touched; what is below it is erased
before each drawing, however the terminal has broken it anew after a change of its size.
"""

import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO, cast

from helixband import interruption

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

DRAWINGS_A_SECOND = 8
SECONDS_TO_END = 2.0

ERASE = "\r \x1b[J\r\x1b[K"
"""Erases this line and all below, and never a whole screen at once: tmux would keep that in its history."""
UP, HIDE_CURSOR, SHOW_CURSOR = "\x1b[{}A", "\x1b[?25l", "\x1b[?25h"


class Screen:
    """Draws what `render` gives while it is open; a context manager.

    What is said while it is closed is printed at once.
    """

    def __init__(self, console: "Console", render: Callable[[], "RenderableType"]) -> None:
        self.console = console
        self._file, self._render = console.file, render
        self._said: deque[str] = deque()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._ends = False
        self._redirected: dict[str, _Redirected] = {}

    def say(self, text: str) -> None:
        """Lines that stay on the screen, word for word."""
        self._said.append(text)
        if self._thread is None:
            self._write(self._lines())

    def __enter__(self) -> "Screen":
        self._over.clear()
        self._thread = threading.Thread(target=self._work, name="screen", daemon=True)
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream.isatty():
                self._redirected[name] = _Redirected(stream, self.say)
                setattr(sys, name, self._redirected[name])
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the frame away, and give the terminal back."""
        for name, redirected in self._redirected.items():
            setattr(sys, name, redirected.stream)
            redirected.end()
        self._redirected = {}
        thread, self._thread = self._thread, None
        assert thread is not None
        self._over.set()
        try:
            thread.join()
        except KeyboardInterrupt:  # a second one
            thread.join(SECONDS_TO_END)
            raise
        if self._error is not None:
            self._write(self._lines())
            raise self._error

    def _work(self) -> None:
        """What the thread does."""
        over = False
        try:
            with contextlib.suppress(OSError):  # the terminal is gone, and the run goes on without
                self._write(HIDE_CURSOR)
                while not over:
                    self._tell_end()
                    self._draw()
                    over = self._over.wait(1 / DRAWINGS_A_SECOND)
        except Exception as error:  # told by the thread that opened the screen
            self._error = error
        with contextlib.suppress(OSError):
            self._write(ERASE + self._lines() + SHOW_CURSOR)

    def _tell_end(self) -> None:
        """Say once that the run ends: what it stores first can take a while."""
        if interruption.asked() and not self._ends:
            self._ends = True
            self._said.append("stopping: what is finished is stored first")

    def _draw(self) -> None:
        """One drawing, in one piece: a terminal shows no half of it."""
        with contextlib.suppress(OSError, ValueError):  # no terminal, but what a test reads
            size = os.get_terminal_size(self._file.fileno())
            if all(size):  # which COLUMNS, in the environment, does not know after a change
                self.console.size = cast(Any, size)
        with self.console.capture() as capture:
            self.console.print(self._render())
        frame = capture.get().splitlines()[: max(1, self.console.height - 1)]
        up = UP.format(len(frame) - 1) if len(frame) > 1 else ""
        self._write(ERASE + self._lines() + "\n".join(frame) + "\r" + up)

    def _lines(self) -> str:
        """What was said since the last time."""
        return "".join(self._said.popleft() + "\n" for _ in range(len(self._said)))

    def _write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()


class _Redirected:
    """Stands for a stream of the terminal: a line that is written there is said.

    A forked process, as a loader of data is one, has no thread that writes, and writes itself.
    """

    def __init__(self, stream: TextIO, say: Callable[[str], None]) -> None:
        self.stream, self._say = stream, say
        self._process, self._lock = os.getpid(), threading.Lock()
        self._rest = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Say the lines that are whole by now."""
        if os.getpid() != self._process:
            return self.stream.write(text)
        with self._lock:
            *lines, rest = (self._rest + text).split("\n")
            self._rest = rest.rpartition("\r")[2]  # a bar that overwrites itself
        for line in lines:
            self._say(line)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """There is nothing to wait for."""
        if os.getpid() != self._process:
            self.stream.flush()

    def end(self) -> None:
        """Say what no line end has followed."""
        if self._rest:
            self._say(self._rest)
