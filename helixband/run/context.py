"""What the stages of a run share."""

from argparse import Namespace
from dataclasses import dataclass

from helixband.definition import Definition
from helixband.display.progress import Progress
from helixband.results.directory import Results
from helixband.run.runfile import RunFile


@dataclass(frozen=True)
class Context:
    """A definition, its results, the record of them, and the flags of this run."""

    args: Namespace
    definition: Definition
    results: Results
    run_file: RunFile
    progress: Progress


class Stage:
    """A part of a run, with what it shares at hand."""

    def __init__(self, context: Context) -> None:
        self.args = context.args
        self.definition = context.definition
        self.results = context.results
        self.run_file = context.run_file
        self.progress = context.progress
