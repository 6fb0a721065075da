"""What a process does that follows process 0 through a training: it prints nothing and leaves no files.

What goes wrong with it is told by process 0.
"""

import contextlib
import os
import tempfile
import traceback
import warnings
from argparse import Namespace
from collections.abc import Iterator

from helixband.definition import Definition
from helixband.errors import HelixbandError
from helixband.results.directory import Results
from helixband.search.executors.trial import Part, Trainer


def take_part(definition: Definition, args: Namespace, part: Part) -> None:
    """Take part in a training that process 0 begins too."""
    with tempfile.TemporaryDirectory() as empty:
        results = Results(empty)
        with results.only_read("process 0 alone writes results"):
            Trainer(definition, results, args).take_part(part)


def account_of(error: BaseException, definition: Definition | None) -> str:
    """What process 0 tells of an error."""
    if definition is not None and isinstance(error, Exception):
        error = definition.explain(error)
    if isinstance(error, HelixbandError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "stopped by a signal, perhaps because process 0 was killed; the same command goes on from here"
    return "".join(traceback.format_exception(error)).rstrip()


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Nothing is printed, by a definition neither, and no warning given: process 0 does so for all."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
