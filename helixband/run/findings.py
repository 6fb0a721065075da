"""What the check of the data found: faults, which are told all at once, and notes."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from helixband.definition import Definition
from helixband.errors import DataError, DefinitionError, HelixbandError, ResultsMismatch, StorageError
from helixband.training.rehearsal import Unreadable

MODEL, TRAINING, VALIDATION, TEST, PREDICTION = (
    "the model",
    "the training data",
    "the validation data",
    "the test data",
    "the data to predict on",
)
"""Where a fault can be."""


class Fault(NamedTuple):
    """What was raised, and where; `told` says whether its traceback or message tells where."""

    where: str
    error: BaseException
    told: bool


class Findings:
    """Faults and notes, in the order in which they were found."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.notes: list[str] = []

    @contextlib.contextmanager
    def of(self, where: str, told: bool = False) -> Iterator[None]:
        """Around a check: what it raises is a fault, unless it concerns the result directory."""
        try:
            yield
        except (StorageError, ResultsMismatch):
            raise
        except Unreadable as error:
            self.notes.append(f"{where} were not tried: {error}")
        except (Exception, SystemExit) as error:
            self.add(Fault(where, error, told or where in (MODEL, TRAINING)))

    def add(self, fault: Fault) -> None:
        """Take a fault, unless the same was found elsewhere, as where all sets are made by one function."""
        if not any(_are_alike(fault.error, other.error) for other in self.faults):
            self.faults.append(fault)

    def raise_faults(self, definition: Definition) -> None:
        """Raise the fault, or several as one error."""
        if not self.faults:
            return
        if len(self.faults) > 1:
            listed = "".join(f"\n  - {where}: {_told(error, definition)}" for where, error, _ in self.faults)
            wrong = any(isinstance(fault.error, DefinitionError) for fault in self.faults)
            kind = DefinitionError if wrong else DataError
            raise kind(f"{definition.path}: {len(self.faults)} faults were found before any work:{listed}")
        where, error, told = self.faults[0]
        if not told and isinstance(error, HelixbandError):
            explained = definition.explain(error)
            raise type(error)(f"{where}: {explained}") from error
        if not told:
            error.add_note(f"with {where}, of which a batch was tried before any work")
        raise error


def _are_alike(error: BaseException, other: BaseException) -> bool:
    return type(error) is type(other) and str(error) == str(other)


def _told(error: BaseException, definition: Definition) -> str:
    explained = definition.explain(error)
    text = str(explained)
    if explained is error and not isinstance(error, HelixbandError):
        text = "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
    return text.rstrip().replace("\n", "\n    ")
