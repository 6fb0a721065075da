"""Whose turn it is among members of a training."""

import weakref
from types import TracebackType
from typing import Any

from helixband.errors import StorageError
from helixband.randomness import Stream
from helixband.results.directory import Superseded


class Turn(Stream):
    """A member's turn: the global random numbers are the member's, and an error in it ends this member alone.

    What concerns all members is raised: an interruption, and a result directory that cannot be written.
    """

    def __init__(self, member: Any) -> None:
        super().__init__()
        # Weakly, so that a member and its model go when their last user lets go of them.
        self._member = weakref.ref(member)
        self.without_numbers = _WithoutNumbers(self)
        """A turn in which nothing draws from the global generators, so that none has to be put back."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> bool | None:
        if error is None or isinstance(error, StorageError | Superseded):
            return None
        member = self._member()
        if member is not None and isinstance(error, Exception | SystemExit):
            member.fail(error)
            return True
        return None


class _WithoutNumbers:
    """A member's turn as to errors alone."""

    def __init__(self, turn: Turn) -> None:
        self._turn = weakref.ref(turn)

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> bool | None:
        turn = None if error is None else self._turn()
        return None if turn is None else turn.__exit__(kind, error, tb)
