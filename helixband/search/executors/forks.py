"""Processes as forks of one interpreter, which has imported what they need.

So imports are done once for all of them, and their memory is shared. The interpreter does nothing else, and
has one thread. Over a socket it gets the ends of pipes that a process is to have. For each process there is a
pipe on which it tells its number, and the interpreter how it ended. Signals are for the processes: the
interpreter ends when nobody is there any more who asks.
"""

import atexit
import contextlib
import gc
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import IO, NoReturn, Protocol, TextIO

from helixband.env import set_parent

MESSAGE_BYTES = 1 << 12
TAIL = 4000
"""So many bytes of what the interpreter has printed tell why it ended."""
SECONDS_BETWEEN_LOOKS = 0.05
"""A process whose interpreter has ended is looked for, as nobody tells of its end."""
SECONDS_TO_END = 10.0
"""How long it is waited for that the end of a process is told which was killed."""
SECONDS_ALONE = 1.0
"""The interpreter looks so often whether who asks is there, as another process may hold the socket open."""
FOR_PROCESSES = signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2
"""Signals that a whole group of processes may get."""

Run = Callable[[list[str], list[int]], int]
"""What a process does, given words and further files; its exit code."""


class Process(Protocol):
    """What `subprocess.Popen` is for its caller, and more; it leads a group of processes."""

    returncode: int | None
    """Its exit code, or −n after signal n; None while it runs."""

    @property
    def pid(self) -> int:
        """Its number."""
        ...

    def poll(self) -> int | None:
        """`returncode` as it is now."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """`returncode` once it has ended; raises `subprocess.TimeoutExpired`."""
        ...

    def terminate(self) -> None:
        """Ask it to end."""
        ...

    def kill_all(self) -> None:
        """End it at once, and what it has forked."""
        ...

    def close(self) -> None:
        """Free what it took, once it has ended."""
        ...


class Own(subprocess.Popen[bytes]):
    """A process by itself."""

    def kill_all(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def close(self) -> None:
        """Nothing was taken."""


class Forks:
    """One interpreter for several processes. It comes up with the first of them, and ends with the last."""

    ARE_POSSIBLE = sys.platform == "linux"
    """Elsewhere, libraries of the system do not bear it."""

    def __init__(self) -> None:
        self._lock, self._living = threading.Lock(), 0
        self._interpreter: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._output: IO[bytes] | None = None
        self._last = ""

    def start(
        self,
        command: Sequence[str],
        directory: str,
        environment: Mapping[str, str],
        words: Sequence[str],
        files: Sequence[int],
    ) -> "Forked":
        """A process that reads the first of the files and prints to the second; it gets words and the others.

        `command`, folder and environment are those of the interpreter, which comes up with the first process.
        Raises `OSError` where it does not start.
        """
        with self._lock:
            if self._socket is None:
                self._begin(command, directory, environment)
            self._living += 1
        assert self._socket is not None
        told, tells = os.pipe()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has ended, as its pipe tells
            socket.send_fds(self._socket, [json.dumps(words).encode()], [tells, *files])
        os.close(tells)
        return Forked(self, told)

    def _begin(self, command: Sequence[str], directory: str, environment: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._output = tempfile.TemporaryFile()
        try:
            self._interpreter = subprocess.Popen(
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                pass_fds=[theirs.fileno()],
                env=environment,
                cwd=directory,
                start_new_session=True,
            )
        except OSError:
            self._socket.close()
            self._output.close()
            self._socket = self._output = None
            raise
        finally:
            theirs.close()

    def printed(self) -> str:
        """The last of what the interpreter has printed, as where an import fails."""
        with self._lock:
            return self._printed()

    def _printed(self) -> str:
        if self._output is not None:
            size = os.fstat(self._output.fileno()).st_size
            last = os.pread(self._output.fileno(), TAIL, max(0, size - TAIL))
            self._last = last.decode(errors="replace").strip()
        return self._last

    def end(self) -> int:
        """How the interpreter ended, which does not fork any more."""
        assert self._interpreter is not None
        return self._interpreter.wait()

    def release(self) -> None:
        """One of the processes is of no interest any more."""
        with self._lock:
            self._living -= 1
            if self._living or not (self._socket and self._interpreter and self._output):
                return
            self._socket.close()
            self._interpreter.kill()
            self._interpreter.wait()
            self._printed()
            self._output.close()
            self._output = None


class Forked:
    """A process that `Forks` starts, as `Process`. One that is not there yet is ended without a wait."""

    def __init__(self, forks: Forks, told: int) -> None:
        self.returncode: int | None = None
        self._forks, self._told = forks, open(told, "rb", buffering=0)
        self._pid, self._received = 0, b""
        self._lock = threading.Lock()
        self._is_alone = self._is_released = False
        os.set_blocking(told, False)

    @property
    def pid(self) -> int:
        """Its number, once it is there; 0 where it never was."""
        while not self._pid and self.returncode is None:
            self._listen(SECONDS_TO_END)
        return self._pid

    def poll(self) -> int | None:
        self._listen(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        until = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            left = SECONDS_TO_END if until is None else until - time.monotonic()
            if left < 0:
                raise subprocess.TimeoutExpired(f"process {self._pid}", timeout or 0)
            self._listen(left)
        return self.returncode

    def terminate(self) -> None:
        if self.poll() is None and self._is_there(signal.SIGTERM):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)

    def kill_all(self) -> None:
        if self.poll() is None and not self._is_there(signal.SIGKILL):
            return
        if self._pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)
        try:
            self.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:  # the interpreter is stopped, and does not tell
            self.returncode = -signal.SIGKILL

    def close(self) -> None:
        with self._lock:
            self._told.close()
            if self._is_released:
                return
            self._is_released = True
        self._forks.release()

    def _is_there(self, number: int) -> bool:
        """Whether it is there. Otherwise it is as if ended by a signal: it ends where nobody listens."""
        with self._lock:
            if not self._pid:
                self.returncode = -number
                self._told.close()
            return bool(self._pid)

    def _listen(self, seconds: float) -> None:
        """Wait for what is told of it, so long at most, and take that in."""
        if self._is_alone:
            self._look(seconds)
            return
        told = select.poll()
        with contextlib.suppress(ValueError):  # another thread has closed the pipe
            told.register(self._told, select.POLLIN)
            told.poll(seconds * 1000)
        with self._lock:
            is_over = self._told.closed or self.returncode is not None
            received = None if is_over else self._told.read(MESSAGE_BYTES)
            if received is None:
                return
            *lines, self._received = (self._received + received).split(b"\n")
            for line in lines:
                what, number = line.split()
                if what == b"pid":
                    self._pid = int(number)
                else:
                    self.returncode = int(number)
            if not received:
                self._is_alone = True

    def _look(self, seconds: float) -> None:
        """Where the interpreter has ended: wait so long at most until the process has ended, too."""
        until = time.monotonic() + seconds
        while self.returncode is None:
            if not _is_running(self._pid):
                self.returncode = self._forks.end()
            elif time.monotonic() >= until:
                return
            else:
                time.sleep(SECONDS_BETWEEN_LOOKS)


def _is_running(pid: int) -> bool:
    """Whether there is a process of this number (proc_pid_stat(5)), and it has not ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def serve(number: int, run: Run) -> NoReturn:
    """Be the interpreter of `Forks`, on the socket of this number: fork what runs, until nobody asks."""
    gc.freeze()  # modules stay, and no fork looks through them, which would copy their memory
    handlers = {each: signal.signal(each, signal.SIG_IGN) or signal.SIG_DFL for each in FOR_PROCESSES}
    asked = socket.socket(fileno=number)
    woken, wakes = os.pipe()
    for end in (woken, wakes):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes)
    asker = os.getppid()
    tells: dict[int, int] = {}
    """The pipe on which it is told how a process ends, by the number of that."""
    events = select.poll()
    events.register(asked, select.POLLIN)
    events.register(woken, select.POLLIN)
    while os.getppid() == asker:
        for end, _ in events.poll(SECONDS_ALONE * 1000):
            if end == woken:
                os.read(woken, MESSAGE_BYTES)
                _reap(tells)
                continue
            words, files, _, _ = socket.recv_fds(asked, MESSAGE_BYTES, 8)
            if not words:
                os._exit(0)
            pid = _forked(files)
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for each, handler in {**handlers, signal.SIGCHLD: signal.SIG_DFL}.items():
                    signal.signal(each, handler)
                for file in (number, woken, wakes, *tells.values()):
                    os.close(file)
                set_parent(asker)
                _be(files, json.loads(words), run)
            if pid is not None:
                tells[pid] = os.dup(files[0])
            for file in files:
                os.close(file)
    os._exit(0)


def _forked(files: list[int]) -> int | None:
    """What `os.fork` gives; None where the system refuses, which is told."""
    try:
        return os.fork()
    except OSError as error:
        with contextlib.suppress(BrokenPipeError):
            os.write(files[2], f"cannot fork a process: {error}\n".encode())
            os.write(files[0], b"code 1\n")
        return None


def _reap(tells: dict[int, int]) -> None:
    """Tell of the processes that have ended."""
    for pid in list(tells):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            told = tells.pop(pid)
            with contextlib.suppress(BrokenPipeError):
                os.write(told, b"code %d\n" % os.waitstatus_to_exitcode(status))
            os.close(told)


def _be(files: list[int], words: list[str], run: Run) -> NoReturn:
    """Be a process."""
    tells, given, output, *others = files
    os.setsid()
    try:
        os.write(tells, b"pid %d\n" % os.getpid())
    except BrokenPipeError:
        os._exit(1)
    for file, place in ((given, 0), (output, 1), (output, 2)):
        os.dup2(file, place)
    for file in (tells, given, output):
        os.close(file)
    # Those of the interpreter would look for a place in its file.
    sys.stdout, sys.stderr = _printing(1, sys.stdout), _printing(2, sys.stderr)
    try:
        code = run(words, others)
    except BaseException:
        traceback.print_exc()
        code = 1
    end(code)


def _printing(file: int, like: TextIO) -> TextIO:
    """A stream of text to a file, without a buffer, as by `python -u`."""
    raw = open(file, "wb", buffering=0, closefd=False)
    return io.TextIOWrapper(raw, like.encoding, like.errors, write_through=True)


def end(code: int) -> NoReturn:
    """End this process. To take the interpreter apart would take seconds, with torch in it."""
    atexit._run_exitfuncs()
    os._exit(code)
