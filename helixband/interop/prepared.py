"""`prepare_data` of DataModules, called once in a run, by the process that comes first."""

import hashlib
import os
from typing import Any

VARIABLE = "HELIXBAND_PREPARED"
"""Tells workers on the same machine what the process that started them has prepared, after its number."""


class Preparation:
    """What is prepared in this run.

    A DataModule that sets attributes in `prepare_data`, which Lightning advises against, is prepared each
    time that it is made: else it would lack them.
    """

    def __init__(self) -> None:
        self._done: set[Any] = set()

    def prepare(self, datamodule: Any, key: object) -> None:
        """Call `prepare_data`, unless that was done for this class of DataModule and this `key`.

        A Trainer that gets the DataModule does not call it again.
        """
        key = type(datamodule), key
        if key not in self._done and not _was_prepared(key):
            before = attributes(datamodule)
            datamodule.prepare_data()
            if attributes(datamodule) == before:
                self._done.add(key)
                _tell_workers(key)
        datamodule.prepare_data = _prepared


def _was_prepared(key: tuple[type[Any], object]) -> bool:
    """Whether the process that started this one has told so."""
    number, *digests = os.environ.get(VARIABLE, "").split(" ")
    return number == str(os.getppid()) and _digest(key) in digests


def _tell_workers(key: tuple[type[Any], object]) -> None:
    number, *digests = os.environ.get(VARIABLE, "").split(" ")
    own = digests if number == str(os.getpid()) else []
    os.environ[VARIABLE] = " ".join([str(os.getpid()), *own, _digest(key)])


def _digest(key: tuple[type[Any], object]) -> str:
    kind, rest = key
    return hashlib.sha256(f"{kind.__module__}.{kind.__qualname__} {rest!r}".encode()).hexdigest()[:16]


def attributes(datamodule: Any) -> tuple[tuple[str, str], ...]:
    """The attributes of a DataModule as they are shown, but for the path of a prediction."""
    return tuple((name, repr(value)) for name, value in vars(datamodule).items() if name != "predict_path")


def _prepared() -> None:
    """In the place of `prepare_data`, for a Trainer to call; a function here, which workers can be sent."""
