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
    """What was raised, and where; `told` says whether its traceback or message tells where.

    `numbers` are the configurations of --try, from 1, with which it was found.
    """

    where: str
    error: BaseException
    told: bool
    numbers: tuple[int, ...] = ()

    @property
    def place(self) -> str:
        """Where it was found, and with which configurations."""
        if not self.numbers:
            return self.where
        some = "configuration" if len(self.numbers) == 1 else "configurations"
        return f"{some} {', '.join(map(str, self.numbers))} of --try, {self.where}"


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

    def add(self, fault: Fault, *numbers: int) -> None:
        """Take a fault, unless the same was found elsewhere, as where all sets are made by one function.

        With the numbers of configurations, the same with another one adds its numbers.
        """
        for place, other in enumerate(self.faults):
            if _are_alike(fault.error, other.error):
                several = dict.fromkeys((*other.numbers, *numbers))
                self.faults[place] = other._replace(numbers=tuple(several))
                return
        self.faults.append(fault._replace(numbers=numbers, told=fault.told and not numbers))

    def raise_faults(self, definition: Definition) -> None:
        """Raise the fault, or several as one error."""
        if not self.faults:
            return
        if len(self.faults) > 1:
            listed = "".join(
                f"\n  - {fault.place}: {_told(fault.error, definition)}" for fault in self.faults
            )
            wrong = any(isinstance(fault.error, DefinitionError) for fault in self.faults)
            kind = DefinitionError if wrong else DataError
            raise kind(f"{definition.path}: {len(self.faults)} faults were found before any work:{listed}")
        error, told, place = self.faults[0].error, self.faults[0].told, self.faults[0].place
        if not told and isinstance(error, HelixbandError):
            explained = definition.explain(error)
            raise type(error)(f"{place}: {explained}") from error
        if not told:
            of_what = "which was" if self.faults[0].where == MODEL else "of which a batch was"
            error.add_note(f"with {place}, {of_what} tried before any work")
        raise error


def _are_alike(error: BaseException, other: BaseException) -> bool:
    return type(error) is type(other) and str(error) == str(other)


def _told(error: BaseException, definition: Definition) -> str:
    explained = definition.explain(error)
    text = str(explained)
    if explained is error and not isinstance(error, HelixbandError):
        text = "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
    return text.rstrip().replace("\n", "\n    ")
