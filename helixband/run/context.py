"""What the stages of a run share."""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from helixband.definition import Definition
from helixband.display.progress import Progress
from helixband.results.directory import Results
from helixband.run.runfile import RunFile
from helixband.search.executors.early import Early


@dataclass(frozen=True)
class Planned:
    """What a YAML experiment plans of a run; nothing, where there is none.

    `source`: the text of its definition; `text`: that of experiment.yaml; `settings`: flags that were not
    given; `notes`: what to tell.
    """

    source: bytes | None = None
    text: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def settle(self, args: Namespace) -> None:
        """Fill in the flags that were not given."""
        for name, value in self.settings.items():
            if getattr(args, name) is None:
                setattr(args, name, value)


@dataclass(frozen=True)
class Context:
    """A definition, its results, the record of them, and the flags of this run."""

    args: Namespace
    definition: Definition
    results: Results
    run_file: RunFile
    progress: Progress
    planned: Planned = Planned()
    early: Early = field(default_factory=Early)


class Stage:
    """A part of a run, with what it shares at hand."""

    def __init__(self, context: Context) -> None:
        self.args = context.args
        self.definition = context.definition
        self.results = context.results
        self.run_file = context.run_file
        self.progress = context.progress
