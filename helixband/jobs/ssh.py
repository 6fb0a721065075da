"""A machine behind SSH, by the system's own ssh: its configuration, keys, agents and jump hosts count.

All calls share one connection (ControlMaster), so that a password or a second factor is asked for once.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from helixband.errors import HelixbandError, StorageError, UsageError
from helixband.jobs import machine
from helixband.jobs.systems import Done, decoded, unpack

TRIES, SECONDS_BETWEEN_TRIES = 3, 2.0
LOST = 255
"""The exit code of ssh where the connection failed."""

_REFUSED = {
    r"REMOTE HOST IDENTIFICATION HAS CHANGED": "the key of the host has changed: if that is known to be "
    "right, remove the old one with: ssh-keygen -R {host}",
    r"Host key verification failed": "the key of the host is not known: connect once by hand: ssh {host}",
    r"Permission denied": "it let nobody in: try by hand: ssh {host}. A password can be typed only where "
    "there is a terminal; a key, or a connection that is open already (ControlMaster), needs none",
    r"Could not resolve hostname": "there is no host of that name; see Host in ~/.ssh/config",
    r"(?i)bad configuration option|no such file.*config|can't open user config|terminating, \d+ bad": "the "
    "configuration is wrong",
}
"""What ssh says that another try does not change, with what to do."""
_NOT_BEGUN = re.compile(
    r"Connection (refused|timed out)|No route to host|kex_exchange|Network is unreachable"
)


class SshOs:
    """The machine of this name in the user's ssh configuration. Relative paths are from the home there.

    `python`: a Python there, from 3.6 on, which answers for this class; jobs have one of their own. `config`:
    another file than ~/.ssh/config (default: $HELIXBAND_SSH_CONFIG). `say` is told when a lost connection is
    tried again.

    Raises `HelixbandError` with the words of ssh where the host lets nobody in.
    """

    is_here = False

    def __init__(
        self,
        host: str,
        python: str = "python3",
        config: str | None = None,
        say: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
    ) -> None:
        if not host or host.startswith("-") or re.search(r"[\x00-\x20]", host):
            raise UsageError(f"{host!r} is no name of a host: give one as for ssh, such as login or me@login")
        self.name = host
        self._python, self._say = python, say
        self._config = config if config is not None else os.environ.get("HELIXBAND_SSH_CONFIG")
        self.round_trips = 0
        """How many calls of ssh there were."""

    def run(self, argv: Sequence[str], stdin: bytes = b"") -> Done:
        code, (out, err) = self._ask({"do": "run", "argv": list(argv)}, [stdin], again=False)
        return decoded((code, out, err))

    def read(self, paths: Iterable[str], tail: int | None = None) -> dict[str, tuple[float, bytes]]:
        head, contents = self._ask({"do": "read", "paths": list(paths), "tail": tail})
        return {path: (changed, content) for (path, changed), content in zip(head, contents, strict=True)}

    def write(self, files: Mapping[str, bytes], exclusive: bool = False) -> list[str]:
        blobs = {content: number for number, content in enumerate(dict.fromkeys(files.values()))}
        places = [[path, blobs[content]] for path, content in files.items()]
        taken, _ = self._ask({"do": "write", "files": places, "exclusive": exclusive}, list(blobs))
        return list(taken)

    def copy(self, folder: str, target: Path) -> None:
        with tempfile.TemporaryFile() as packed:
            self._ask({"do": "pack", "folder": folder}, out=packed)
            unpack(packed, target)

    def _ask(
        self,
        asked: Mapping[str, Any],
        blobs: Sequence[bytes] = (),
        again: bool = True,
        out: BinaryIO | None = None,
    ) -> tuple[Any, list[bytes]]:
        """The answer to a request; what follows it is written to `out`, where that is given."""
        program = Path(machine.__file__).read_bytes()
        request = BytesIO()
        request.write(f"{len(program)}\n".encode() + program)
        machine.send(request, asked, list(blobs))
        for left in reversed(range(TRIES)):
            with tempfile.TemporaryFile() as stream:
                code, words = self._call(request.getvalue(), stream)
                answer = _answer_in(stream) if code == 0 else None
                if answer is not None:
                    if out is not None:
                        shutil.copyfileobj(stream, out)
                    return self._without_error(answer)
            if code == machine.CUT:
                raise StorageError(f"{self.name}: cannot read {words[-500:]}")
            if code != LOST:
                raise HelixbandError(
                    f"{self.name}: {self._python} does not answer there (exit code {code}): {words[-500:]}; "
                    "name a Python from 3.6 on, as SshOs(…, python=…) or as ssh_python in jobs.toml"
                )
            self._check(words)
            if not again and not _NOT_BEGUN.search(words):
                raise StorageError(
                    f"the connection to {self.name} was lost ({words[-200:]}) while it ran "
                    f"{asked['argv'][0]}: whether that was done is not known; look at the status"
                )
            if left:
                self._say(f"the connection to {self.name} was lost ({words[-200:]}); trying again")
                time.sleep(SECONDS_BETWEEN_TRIES)
        raise StorageError(f"no connection to {self.name} in {TRIES} tries: {words[-500:]}")

    def _without_error(self, answer: tuple[Any, list[bytes]]) -> tuple[Any, list[bytes]]:
        """The answer; raises `StorageError` where it tells of an error there."""
        if isinstance(answer[0], dict) and "error" in answer[0]:
            raise StorageError(f"{self.name}: {answer[0]['path']}: {answer[0]['error']}")
        return answer

    def _call(self, request: bytes, out: BinaryIO) -> tuple[int, str]:
        """One call of ssh: its exit code and words."""
        self.round_trips += 1
        boot = "import sys;i=sys.stdin.buffer;exec(compile(i.read(int(i.readline())),'machine','exec'))"
        # A login shell: it has the PATH and the modules that the user has there.
        command = f"exec {shlex.quote(self._python)} -c {shlex.quote(boot)}"
        argv = ["ssh", *self._options, "--", self.name, f"bash -lc {shlex.quote(command)}"]
        try:
            with tempfile.TemporaryFile() as err:
                done = subprocess.run(argv, input=request, stdout=out, stderr=err, check=False)
                err.seek(0)
                words = err.read().decode(errors="replace").strip()
        except FileNotFoundError as error:
            raise UsageError("there is no program ssh here: install OpenSSH's client") from error
        out.seek(0)
        return done.returncode, words

    @cached_property
    def _options(self) -> list[str]:
        """What the user's configuration leaves open: one connection for all calls, and that none hangs."""
        options = ["-T", "-o", "ServerAliveInterval=15", "-o", "ConnectTimeout=30"]
        options += ["-F", self._config] if self._config else []
        if not os.path.exists("/dev/tty") or not _has_terminal():
            options += ["-o", "BatchMode=yes"]  # nobody can type a password: refuse at once, and do not wait
        try:
            asked = ["ssh", *options, "-G", "--", self.name]
            told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
        except FileNotFoundError as error:
            raise UsageError("there is no program ssh here: install OpenSSH's client") from error
        if not re.search(r"(?m)^controlpath (?!none)", told):
            folder = Path(tempfile.gettempdir(), f"helixband-ssh-{os.getuid()}")
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o077:
                raise UsageError(f"{folder} is of somebody else, or open to others: remove it")
            options += ["-o", "ControlMaster=auto", "-o", f"ControlPath={folder}/%C"]
            options += ["-o", "ControlPersist=10m"]
        return options

    def _check(self, words: str) -> None:
        """Raise `HelixbandError` where another try would end in the same way."""
        for pattern, advice in _REFUSED.items():
            if re.search(pattern, words):
                raise HelixbandError(
                    f"no connection to {self.name}: {words[-1000:]}\n{advice.format(host=self.name)}"
                )


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _answer_in(stream: BinaryIO) -> tuple[Any, list[bytes]] | None:
    """The answer in what a call printed, after what a login shell may print; None where it is not whole."""
    printed = b""
    while machine.ANSWER not in printed:
        block = stream.read(1 << 16)
        if not block:
            return None
        printed += block
    stream.seek(printed.index(machine.ANSWER) + len(machine.ANSWER))
    try:
        return machine.receive(stream)
    except EOFError:
        return None
