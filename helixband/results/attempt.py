"""The fence of a trial: of all who were ever told to train it, only the latest may write."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from helixband.errors import HelixbandError, StorageError
from helixband.files import check_place, locked_file

LOCK_SECONDS = 60.0
"""A write to a trial takes a fraction of a second; who holds it for longer is no longer at work."""


class Superseded(HelixbandError):
    """Another attempt at the trial has begun, and this one may no longer write: it is to end, unreported."""


class Attempt:
    """An attempt at a trial, which has a random token. The token of the latest attempt is in `file`.

    An earlier attempt may be of a worker that was only believed dead, or of a run that is over and whose
    directory was cleared. It writes nothing more: each write is made under a lock and by the latest alone.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._token: str | None = None
        self._process = 0

    def begin(self) -> str:
        """Take the trial over from whoever was at it; the token, with which another process may join."""
        check_place(self.file)
        token = secrets.token_hex(16)
        line = f"{token}\n".encode()
        with self._locked(create=True) as file:
            try:
                # In place and always of one length, so that a kill leaves this token or the last.
                os.pwrite(file, line, 0)
                if os.pread(file, len(line), 0) != line:
                    raise OSError(errno.EIO, "what is read back is not what was written")
            except OSError as error:
                raise StorageError(f"cannot write {self.file}: {error.strerror}") from error
        self._token, self._process = token, os.getpid()
        return token

    def join(self, token: str) -> None:
        """Take part in the attempt of that token; raises `Superseded` where it is over."""
        self._token, self._process = token, os.getpid()
        with self.writing():
            pass

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the trial while one of its files is written.

        Raises `Superseded` where the attempt is over, and in a fork of the process that has it. Who has begun
        or joined none writes freely.
        """
        if self._token is None:
            yield
            return
        over = f"the attempt at {self.file.parent} is over"
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(self._locked(create=False))  # where it is gone, so is the attempt
            except FileNotFoundError as error:
                raise Superseded(f"{over}: its folder was removed") from error
            try:
                found = os.pread(file, 64, 0)
            except OSError as error:
                raise StorageError(f"cannot read {self.file}: {error.strerror}") from error
            if found != f"{self._token}\n".encode():
                raise Superseded(f"{over}: another one began")
            if os.getpid() != self._process:
                raise Superseded(f"{over} in this process, which is a fork of process {self._process}")
            yield

    @contextlib.contextmanager
    def _locked(self, create: bool) -> Iterator[int]:
        """The file, locked; raises `FileNotFoundError` where it is neither there nor to be made."""
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(locked_file(self.file, LOCK_SECONDS, create))
            except FileNotFoundError:
                raise
            except BlockingIOError as error:
                raise StorageError(
                    f"cannot lock {self.file}: another process has held it for {LOCK_SECONDS:.0f} seconds; "
                    "find it with fuser, and end it"
                ) from error
            except OSError as error:
                raise StorageError(f"cannot lock {self.file}: {error.strerror or error}") from error
            yield file
