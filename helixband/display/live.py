"""The display of a run on a terminal: what matters most, on as many lines as the terminal has."""

import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from helixband.display.plain import PlainProgress
from helixband.display.progress import BracketCount, Job, Leader, Progress, RungCount
from helixband.display.screen import Screen
from helixband.display.text import show_number, show_row, shown_values
from helixband.results.directory import Row

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

WIDTH = 100  # columns, at most, of the bar of the whole
BRACKETS_SHOWN = 7  # lines, at most: a round of Hyperband up to 729 epochs, or a part of a longer search
NARROW, WIDE = 70, 120  # columns below which a trial's bar is short, and from which its place is told


def make_progress(quiet: bool) -> Progress:
    """Live on a terminal that can move its cursor, lines elsewhere, nothing where quiet."""
    if quiet:
        return Progress()
    moves = sys.stdout.isatty() and os.environ.get("TERM", "").lower() not in ("", "dumb", "unknown")
    return LiveProgress() if moves else PlainProgress()


class Lines(NamedTuple):
    """The lines of each part of a search's display, without the bar of the whole and the tables' heads."""

    failures: int
    trials: int
    brackets: int
    best: int
    gap: int  # above each part

    @classmethod
    def share(cls, height: int, failures: int, trials: int, brackets: int, best: int) -> "Lines":
        """Of a terminal of `height` lines, to parts that would like so many.

        The bar of the whole has a line, and one is left to what was said last. The trials at work leave
        the tables a line and a head each; then the brackets have what they would like, then the best trials.

        >>> Lines.share(20, failures=1, trials=8, brackets=4, best=5)
        Lines(failures=1, trials=8, brackets=4, best=3, gap=0)
        >>> Lines.share(7, failures=1, trials=8, brackets=4, best=5)
        Lines(failures=1, trials=1, brackets=1, best=0, gap=0)
        """
        left = max(0, height - 2)
        failures = min(failures, left)
        left -= failures
        trials = min(trials, max(left - 4, 1), left)
        left -= trials
        brackets = max(0, min(brackets, max(left - 3, 1), left - 1))
        left -= brackets + bool(brackets)
        best = max(0, min(best, left - 1))
        left -= best + bool(best)
        return cls(failures, trials, brackets, best, gap=int(left >= 3))


class LiveProgress(Progress):
    """A bar of the whole; of a search also the trials at work, the brackets, the best trials, failures."""

    def __init__(self, console: "Console | None" = None) -> None:
        super().__init__()
        from rich.console import Console

        self._console = console or Console(file=sys.stdout)
        self._screen = Screen(self._console, self._render)

    @contextmanager
    def shown(self) -> Iterator[Progress]:
        with self._screen:
            yield self

    def say(self, text: str) -> None:
        self._screen.say(text)

    def epoch(self, name: str, row: Row) -> None:
        super().epoch(name, row)
        with self._lock:
            job = self.running.get(name)
            if job is not None and not self.brackets:  # these lines stay when the display goes
                self.say(f"  epoch {job.epoch}/{job.epochs}  {show_row(job.row)}")

    def _render(self) -> "RenderableType":
        from rich.columns import Columns
        from rich.console import Group
        from rich.text import Text

        with self._lock:
            if not self.total:
                return Text("")
            if self.brackets:
                return Group(*self._search())
            # In columns, so that a narrow terminal parts no name from its value.
            shown = [value for job in self.running.values() for value in shown_values(job.row)]
            values = [Text(value, style="dim") for value in shown or [""]]
            return Group(self._whole(), Columns(values, padding=(0, 2)))

    def _whole(self) -> "RenderableType":
        """The bar of the whole search, training or prediction."""
        from rich.table import Table

        grid = Table.grid(padding=(0, 2), expand=True)
        grid.width = min(WIDTH, self._console.width)
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True, justify="right")
        grid.add_column(no_wrap=True)
        stage = "search" if self.brackets else "training" if self.unit == "epochs" else "prediction"
        note = "  ".join(filter(None, [self.bases_a_second(), self.time_left()]))
        grid.add_row(stage, _bar(self.done, self.total), f"{self.done:,}/{self.total:,} {self.unit}", note)
        return grid

    def _search(self) -> "list[RenderableType]":
        """The parts of a search's display."""
        from rich.text import Text

        best, brackets = self.best(), min(BRACKETS_SHOWN, len(self.brackets))
        lines = Lines.share(self._console.height, bool(self.failures), self._slots(), brackets, len(best))
        gap = [Text("")] * lines.gap
        parts = [self._whole(), *self._trials(lines.trials)]
        if lines.brackets:
            parts += [*gap, self._brackets(lines.brackets)]
        if lines.best:
            parts += [*gap, self._best_table(best[: lines.best])]
        if lines.failures:
            parts += [*gap, _line(f"{self.failures} failed, the last {self.last_failure}", "red")]
        return parts

    def _slots(self) -> int:
        """How many trials may run at once before a rung is over; constant while one follows another."""
        left = sum(
            rung.expected - rung.ended for bracket in self.brackets for rung in bracket.rungs if rung.running
        )
        return min(self.at_a_time, max(1, left))

    def _trials(self, lines: int) -> "list[RenderableType]":
        """The trials at work, the earliest first, on so many lines: what is below them stays in its place."""
        from rich.table import Table
        from rich.text import Text

        jobs = list(self.running.values())
        hidden = len(jobs) - lines + 1 if 1 < lines < len(jobs) else 0
        jobs = jobs[: lines - bool(hidden)]
        counts = [f"{job.epoch}/{job.epochs}" for job in jobs]
        bar = 10 if self._console.width < NARROW else 20
        grid = Table.grid(padding=(0, 2))
        for width in (None, bar, None, None):
            grid.add_column(width=width, no_wrap=True)
        taken = _longest([job.name for job in jobs]) + bar + _longest(counts) + 6
        for job, count in zip(jobs, counts, strict=True):
            told = [self.place(job)] if self._console.width >= WIDE else []
            told = _fitting(told + _main_values(job), self._console.width - taken)
            grid.add_row(job.name, _bar(job.epoch, job.epochs), count, _line("  ".join(told), "dim"))
        more = [_line(f"and {hidden} more", "dim")] if hidden else []
        return [grid, *more, *[Text("")] * (lines - len(jobs) - len(more))]

    def _brackets(self, lines: int) -> "RenderableType":
        """A line for each bracket or group of them, a column for each number of epochs that rungs lead to."""
        from rich.text import Text

        epochs = sorted({rung.epochs for bracket in self.brackets for rung in bracket.rungs})
        table = _table("to epoch")
        for number in epochs:
            table.add_column(str(number), justify="right", no_wrap=True)
        for label, group in self._groups(lines):
            cells = [
                _cell([rung for bracket in group for rung in bracket.rungs if rung.epochs == number])
                for number in epochs
            ]
            table.add_row(Text(label), *cells)
        return table

    def _best_table(self, best: list[Leader]) -> "Table":
        table = _table("best trials")
        table.add_column("reward", justify="right", no_wrap=True)
        table.add_column("configuration")  # the one that gives way on a narrow terminal
        for one in best:
            name = f">{one.name}" if one.at_work else one.name
            table.add_row(name, show_number(one.reward), _line(self.show_config(one.config)))
        return table

    def _groups(self, lines: int) -> list[tuple[str, list[BracketCount]]]:
        """The brackets, where there are too many with those that finished and the last ones summed up."""
        every = [(f"bracket {n}/{len(self.brackets)}", [b]) for n, b in enumerate(self.brackets, 1)]
        if len(every) <= lines:
            return every
        finished = [(label, group) for label, group in every if group[0].finished]
        left = [(label, group) for label, group in every if not group[0].finished]
        if lines < 3:  # no line to spend on sums
            return (left or finished[::-1])[:lines]
        left.sort(key=lambda one: not one[1][0].begun)  # those at work first; else in their order
        singles = lines - bool(finished)
        if len(left) > singles:
            singles -= 1
        return [
            *_summed(finished, "finished"),
            *left[:singles],
            *_summed(left[singles:], "more"),
        ]


def _summed(lines: list[tuple[str, list[BracketCount]]], what: str) -> list[tuple[str, list[BracketCount]]]:
    """One line for many."""
    if len(lines) < 2:
        return lines
    return [(f"{len(lines)} {what}", [bracket for _, group in lines for bracket in group])]


def _cell(rungs: list[RungCount]) -> "Text":
    """How many trials have left a rung of how many, as "9/27"; with ">" where some are at work there."""
    from rich.text import Text

    if not rungs:
        return Text("")
    ended, expected = sum(rung.ended for rung in rungs), sum(rung.expected for rung in rungs)
    if any(rung.running for rung in rungs):
        return Text(f">{ended}/{expected}", style="bold cyan")
    return Text(f"{ended}/{expected}", style="green" if ended == expected else "dim")


def _table(head: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column(head, no_wrap=True)
    return table


def _bar(done: int, total: int) -> "RenderableType":
    from rich.progress_bar import ProgressBar

    return ProgressBar(total=max(1, total), completed=min(done, total))


def _line(text: str, style: str = "") -> "Text":
    """A text that keeps to its line: it ends in "…" where it is too long, and moves no cursor."""
    from rich.text import Text

    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _longest(texts: Sequence[str]) -> int:
    return max(map(len, texts), default=0)


def _main_values(job: Job) -> list[str]:
    """The values of its last epoch, what decides first: the reward, what validation gave, the rest."""

    def rank(value: str) -> int:
        return 0 if value.startswith("reward ") else 1 if value.startswith("val_") else 2

    return sorted(shown_values(job.row), key=rank)


def _fitting(texts: list[str], width: int) -> list[str]:
    """As many of them as fit on a line of that width, two blanks apart, and one at least."""
    ends = itertools.accumulate(len(text) + 2 for text in texts)
    return texts[: max(1, sum(end - 2 <= width for end in ends))]
