"""What a run tells of itself while it goes: live on a terminal, plain lines in a pipe or log file.

Progress is counted in epochs; a search knows from its brackets how many it will train at most.
"""

import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from helixband.results import Row

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

Plan = Sequence[Sequence[tuple[int, int]]]
"""Brackets of rungs of (configurations, epochs)."""

BEST_SHOWN = 5
SECONDS_BETWEEN_LINES = 10
WIDTH = 100  # columns, at most, of the bars


class Progress:
    """Keeps count, and shows nothing; the subclasses show what it counts."""

    def __init__(self) -> None:
        self.plan: Plan = []
        self.place = ""
        self.total = 0  # epochs of the whole search or training
        self.done = 0
        self.job_total = 0  # epochs of the trial at work
        self.row: Row = {}
        self.unit = "epochs"
        self.bases = 0  # of a window, where windows are counted
        self.failures = 0
        self.rewards: dict[str, tuple[float, Mapping[str, Any]]] = {}
        self._name = ""
        self._trained: dict[str, int] = {}
        self._started = time.monotonic()
        self._timed = 0

    @contextmanager
    def shown(self) -> Iterator["Progress"]:
        """Show progress while the block runs."""
        yield self

    def say(self, text: str) -> None:
        """A line to the user."""

    def begin_search(self, plan: Plan) -> None:
        """A search of these brackets begins or goes on."""
        self._begin(sum(planned_epochs(rungs) for rungs in plan))
        self.plan = plan

    def begin_training(self, name: str, done: int, epochs: int) -> None:
        """One configuration is trained from `done` up to `epochs` epochs, outside a search."""
        self._begin(epochs)
        self._name, self.job_total = name, epochs
        self._mark(done)

    def begin_job(self, name: str, bracket: int, rung: int, epochs: int) -> None:
        """A trial of the search is to be trained up to `epochs` epochs."""
        rungs = len(self.plan[bracket])
        self.place = f"bracket {bracket + 1}/{len(self.plan)}, rung {rung + 1}/{rungs}, trial {name}"
        self._name, self.job_total, self.row = name, epochs, {}

    def epoch(self, row: Row) -> None:
        """An epoch was trained."""
        self._mark(int(row["epoch"]))
        self._timed += 1
        self.row = row

    def end_job(self, config: Mapping[str, Any], reward: float, error: str | None) -> None:
        """The trial has had its epochs, in this run or an earlier one, or has failed."""
        self._mark(self.job_total)
        if error is None:
            self.rewards[self._name] = (reward, config)
        else:
            self.failures += 1

    def begin_windows(self, bases: int) -> None:
        """Windows of so many bases are to be predicted."""
        self._begin(0)
        self.unit, self.bases = "windows", bases

    def windows(self, done: int, total: int) -> None:
        """So many of them are predicted; told first of those of an earlier run."""
        self._timed += done - self.done if self.total else 0
        self.done, self.total = done, total

    def end(self) -> None:
        """The search, training or prediction is over."""
        self._begin(0)

    def best(self) -> list[tuple[str, float, Mapping[str, Any]]]:
        """(name, reward, configuration) of the best trials, the best first."""
        ranked = sorted(self.rewards.items(), key=lambda item: (-item[1][0], item[0]))
        return [(name, reward, config) for name, (reward, config) in ranked[:BEST_SHOWN]]

    def time_left(self) -> str:
        """At the pace so far, as "2:05 left"; nothing before there is a pace."""
        if not self._timed:
            return ""
        pace = (time.monotonic() - self._started) / self._timed
        minutes, seconds = divmod(round(pace * max(0, self.total - self.done)), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d} left" if hours else f"{minutes}:{seconds:02d} left"

    def _begin(self, total: int) -> None:
        self.plan, self.total, self.done, self.row, self.unit = [], total, 0, {}, "epochs"
        self._trained, self._timed, self._started = {}, 0, time.monotonic()

    def _bases_a_second(self) -> str:
        """The pace of a prediction, as "12.3 Mb/s"."""
        seconds = time.monotonic() - self._started
        counts = self.unit == "windows" and self._timed and seconds
        return f"{self._timed * self.bases / 1e6 / seconds:.3g} Mb/s" if counts else ""

    def _mark(self, epochs: int) -> None:
        self.done += epochs - self._trained.get(self._name, 0)
        self._trained[self._name] = epochs


class PlainProgress(Progress):
    """One line for each epoch of a training, each trial of a search, and each while of a prediction."""

    def __init__(self) -> None:
        super().__init__()
        self._told = 0.0

    def say(self, text: str) -> None:
        print(text, flush=True)

    def begin_search(self, plan: Plan) -> None:
        super().begin_search(plan)
        for number, rungs in enumerate(plan, 1):
            path = ", ".join(f"{n} to epoch {epochs}" for n, epochs in rungs)
            self.say(f"  bracket {number}: trials: {path}")

    def epoch(self, row: Row) -> None:
        super().epoch(row)
        if not self.plan:
            self.say(f"  epoch {int(row['epoch'])}/{self.job_total}  {show_row(row)}  {self.time_left()}")

    def begin_windows(self, bases: int) -> None:
        super().begin_windows(bases)
        self._told = time.monotonic()

    def windows(self, done: int, total: int) -> None:
        super().windows(done, total)
        if time.monotonic() - self._told >= SECONDS_BETWEEN_LINES:
            self._told = time.monotonic()
            stand = [f"{100 * done // total} %", self._bases_a_second(), self.time_left()]
            self.say(f"  {done:,}/{total:,} windows  [{', '.join(filter(None, stand))}]")

    def end_job(self, config: Mapping[str, Any], reward: float, error: str | None) -> None:
        super().end_job(config, reward, error)
        what = f"failed: {first_line(error)}" if error else f"reward {show_number(reward)}"
        stand = [f"{100 * self.done // max(1, self.total)} %", self.time_left()]
        self.say(f"  {self.place}, epoch {self.job_total}: {what}  [{', '.join(filter(None, stand))}]")


class LiveProgress(Progress):
    """Bars for the search and the trial at work, the last epoch, and a table of the best trials."""

    def __init__(self, console: "Console | None" = None) -> None:
        super().__init__()
        from rich.console import Console
        from rich.live import Live

        self._console = console or Console()
        self._live = Live(
            console=self._console, get_renderable=self._render, refresh_per_second=8, transient=True
        )

    @contextmanager
    def shown(self) -> Iterator[Progress]:
        with self._live:
            yield self

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _render(self) -> "RenderableType":
        from rich.columns import Columns
        from rich.console import Group
        from rich.text import Text

        if not self.total:
            return Text("")
        # In columns, so that a narrow terminal parts no name from its value.
        values = [Text(value, style="dim") for value in _shown_values(self.row)]
        parts: list[RenderableType] = [self._bars(), Columns(values or [Text("")], padding=(0, 2))]
        if self.rewards and self.plan:
            parts.append(self._best_table())
        return Group(*parts)

    def _bars(self) -> "RenderableType":
        """One for the whole, and in a search one for the trial at work."""
        from rich.table import Table

        grid = Table.grid(padding=(0, 2), expand=True)
        grid.width = min(WIDTH, self._console.width)
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True, justify="right")
        grid.add_column(no_wrap=True)
        stage = "search" if self.plan else "training" if self.unit == "epochs" else "prediction"
        note = "  ".join(filter(None, [self._bases_a_second(), self.time_left()]))
        self._add_bar(grid, stage, self.done, self.total, note)
        if self.plan:
            job_done = self._trained.get(self._name, 0)
            self._add_bar(
                grid, self.place, job_done, self.job_total, f"{self.failures} failed" * bool(self.failures)
            )
        return grid

    def _add_bar(self, grid: "Table", name: str, done: int, total: int, note: str) -> None:
        from rich.progress_bar import ProgressBar

        bar = ProgressBar(total=max(1, total), completed=min(done, total))
        grid.add_row(name, bar, f"{done:,}/{total:,} {self.unit}", note)

    def _best_table(self) -> "RenderableType":
        from rich.table import Table
        from rich.text import Text

        table = Table("best trials", box=None, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("reward", justify="right")
        table.add_column("configuration", no_wrap=True)
        for name, reward, config in self.best():
            table.add_row(name, show_number(reward), Text(show_config(config)))
        return table


def make_progress(quiet: bool) -> Progress:
    """Live on a terminal, lines elsewhere, nothing where quiet."""
    if quiet:
        return Progress()
    return LiveProgress() if sys.stdout.isatty() else PlainProgress()


def planned_epochs(rungs: Sequence[tuple[int, int]]) -> int:
    """The epochs of a bracket, in which a promoted trial goes on from where it was.

    >>> planned_epochs([(9, 1), (3, 3), (1, 9)])
    21
    """
    before = [0] + [epochs for _, epochs in rungs]
    return sum(n * (epochs - earlier) for (n, epochs), earlier in zip(rungs, before, strict=False))


def first_line(text: str) -> str:
    """The first line of an error that may have many."""
    return text.partition("\n")[0]


def show_number(value: float) -> str:
    """Four significant digits; NaN is "undefined"."""
    return "undefined" if math.isnan(value) else f"{value:.4g}"


def show_row(row: Row) -> str:
    """The values of an epoch on one line."""
    return "  ".join(_shown_values(row))


def _shown_values(row: Row) -> list[str]:
    return [f"{name} {show_number(value)}" for name, value in row.items() if name != "epoch"]


def show_config(config: Mapping[str, Any]) -> str:
    """A configuration on one line."""
    if not config:
        return "no hyperparameters"
    return "  ".join(f"{name}={_show_value(value)}" for name, value in config.items())


def _show_value(value: Any) -> str:
    if isinstance(value, dict) and "__schedule__" in value:
        parameters = (f"{name}={_show_value(part)}" for name, part in value.items() if name != "__schedule__")
        return f"{value['__schedule__']}({', '.join(parameters)})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
