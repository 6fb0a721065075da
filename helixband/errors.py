"""The errors a user can cause, each with the exit code of the command line.

    HelixbandError            1
    ├── UsageError            2   wrong flags or arguments
    │   └── ResultsMismatch   2   a result directory that belongs to another run
    ├── DefinitionError       2   a def.py that breaks its contract
    ├── DataError             1   input that cannot be read, or has the wrong content
    ├── TrainingError         1   a training that failed: NaN, a reward that is not a number
    └── StorageError          1   a result that cannot be written or read back

Every message says what was wrong, where, the offending value, and what to do. An exception of another
kind is a bug of Helixband or of the definition, and shows its traceback.
"""

import io
import sys
from typing import Any

LONGEST_TEXT = 100
"""Of a value in a message."""


def let_output_pass() -> None:
    """Have standard output show `\\xe9` where its encoding has no é, as standard error does.

    Each process that runs code of a definition needs it, whatever that prints.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def in_one_line(value: Any) -> str:
    """A value as messages show it: if its text is long or of several lines, its class alone.

    >>> in_one_line([0.5, None]), in_one_line("x" * 1000)
    ('[0.5, None]', 'str(…)')
    """
    text = repr(value)
    return text if len(text) <= LONGEST_TEXT and "\n" not in text else f"{type(value).__name__}(…)"


class HelixbandError(Exception):
    """Something that the user can correct; the message is the whole explanation."""

    exit_code = 1


class HelixbandWarning(UserWarning):
    """What a user should know and the run goes on without."""


class UsageError(HelixbandError):
    """Wrong flags or arguments."""

    exit_code = 2


class ResultsMismatch(UsageError):
    """The result directory was made by another definition, environment or set of flags."""


class DefinitionError(HelixbandError):
    """A def.py that does not keep its contract."""

    exit_code = 2


class DataError(HelixbandError):
    """Input data that is missing, damaged or inconsistent."""


class TrainingError(HelixbandError):
    """A training that cannot go on."""


class StorageError(HelixbandError):
    """The result directory cannot be written, or a file in it cannot be read back.

    It concerns the whole run, never one trial, so a search stops on it.
    """
