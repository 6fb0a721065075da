"""The errors a user can cause, each with the exit code of the command line.

    HelixbandError            1
    ├── UsageError            2   wrong flags or arguments
    │   └── ResultsMismatch   2   a result directory that belongs to another run
    ├── DefinitionError       2   a def.py that breaks its contract
    ├── DataError             1   input that cannot be read, or has the wrong content
    ├── TrainingError         1   a training that failed: NaN, a reward that is not a number
    ├── StorageError          1   a result that cannot be written or read back
    └── ProcessError          …   another process of the same training failed; its exit code

Every message says what was wrong, where, the offending value, and what to do. An exception of another
kind is a bug of Helixband or of the definition, and shows its traceback.
"""

import argparse
import contextlib
import difflib
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn

LONGEST_TEXT = 100
"""Of a value in a message."""


def let_output_pass() -> None:
    """Have standard output show `\\xe9` where its encoding has no é, as standard error does.

    Each process that runs code of a definition needs it, whatever that prints. A stream that is closed takes
    what it gets and shows none of it.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # open until the process ends
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Have standard output take what it gets and show none of it, not even at the end of the process."""
    with contextlib.suppress(OSError, ValueError):  # not a file, as in a notebook
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def told_once() -> Iterator[None]:
    """Of the processes that torchrun starts with one command line, let the first tell of it alone."""
    is_first = os.environ.get("RANK", "0") == "0"
    streams = () if is_first else (contextlib.redirect_stdout, contextlib.redirect_stderr)
    with contextlib.ExitStack() as stack:
        for redirect in streams:
            stack.enter_context(redirect(io.StringIO()))
        yield


@contextlib.contextmanager
def warnings_once() -> Iterator[None]:
    """Show each text of a `HelixbandWarning` once, without its place in our code."""
    shown, show = set[str](), warnings.showwarning

    def show_once(message: Any, category: type[Warning], *where: Any, **how: Any) -> None:
        if not issubclass(category, HelixbandWarning):
            show(message, category, *where, **how)
        elif str(message) not in shown:
            shown.add(str(message))
            before, warnings.formatwarning = warnings.formatwarning, _as_a_line
            try:
                show(message, category, *where, **how)
            finally:
                warnings.formatwarning = before

    warnings.showwarning = show_once
    try:
        yield
    finally:
        warnings.showwarning = show


@contextlib.contextmanager
def warnings_passed(tell: Callable[[str], None]) -> Iterator[None]:
    """Tell the text of each `HelixbandWarning` of this process, which is shown besides."""
    process, show = os.getpid(), warnings.showwarning

    def pass_on(message: Any, category: type[Warning], *where: Any, **how: Any) -> None:
        show(message, category, *where, **how)
        if issubclass(category, HelixbandWarning) and os.getpid() == process:  # and not of a fork of it
            tell(str(message))

    warnings.showwarning = pass_on
    try:
        yield
    finally:
        warnings.showwarning = show


def _as_a_line(message: Any, *where: Any, **more: Any) -> str:
    return f"warning: {message}\n"


def counted(number: int, noun: str) -> str:
    """A number with what it counts.

    >>> counted(1, "record"), counted(2000, "record")
    ('1 record', '2,000 records')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def meant(name: str, known: Iterable[str]) -> str:
    """Which of the known names a misspelt one is nearest to, or all of them where none is near.

    >>> meant("windw", ["window", "stride"]), meant("x", ["window", "stride"])
    ('did you mean window?', 'there are window, stride')
    """
    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"


def listed(names: Iterable[str], most: int) -> str:
    """Some names, and how many more there are.

    >>> listed("abcd", 2), listed("ab", 2), listed("", 2)
    ('a, b and 2 more', 'a, b', '')
    """
    shown = list(names)
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


def in_one_line(value: Any) -> str:
    """A value as messages show it: if its text is long or of several lines, its class alone.

    >>> in_one_line([0.5, None]), in_one_line("x" * 1000)
    ('[0.5, None]', 'str(…)')
    """
    text = repr(value)
    return text if len(text) <= LONGEST_TEXT and "\n" not in text else f"{type(value).__name__}(…)"


def first_line(error: BaseException) -> str:
    """The first line of what an error says; empty where it says nothing."""
    return (str(error).splitlines() or [""])[0]


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


class ProcessError(HelixbandError):
    """Another process of the same training failed, with this exit code, or was killed."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class FlagParser(argparse.ArgumentParser):
    """The flags of a command. What is wrong with them is told with what may be meant, and a short usage."""

    _given: tuple[str, ...] = ()

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)  # a new flag would change what a short form means
        self._negative_number_matcher = re.compile(r"-\.?[0-9]")  # -1e-3 is a value, too

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """As that of argparse, which `parse_args` calls."""
        self._given = tuple(sys.argv[1:] if args is None else args)
        words = [self._in_one_piece(word) for word in self._given]
        found, others = super().parse_known_args(words, namespace)
        typed = dict(zip(words, self._given, strict=True))
        return found, [typed.get(word, word) for word in others]

    def _in_one_piece(self, word: str) -> str:
        """The word as a flag: argparse takes `--x=a b` for a value, if it does not know --x."""
        flag, equals, _ = word.partition("=")
        is_other = flag.startswith("--") and equals and flag not in self._option_string_actions
        return word.replace(" ", "\N{NO-BREAK SPACE}") if is_other else word

    def flags_given(self) -> list[str]:
        """The flags of this parser on the command line, by their long names."""
        actions = [self._option_string_actions.get(word.partition("=")[0]) for word in self._given]
        return [action.option_strings[-1] for action in actions if action is not None]

    def format_usage(self) -> str:
        """What has to be given, on one line."""
        needed = [action for action in self._actions if action.required]
        words = [f"{' '.join(action.option_strings[-1:])} {action.metavar}".strip() for action in needed]
        return f"usage: {' '.join([self.prog, *words])} [flag …]; --help lists the flags\n"

    def error(self, message: str) -> NoReturn:
        """End the command with exit code 2, and the message on standard error."""
        super().error(self.explained(message))

    def explained(self, message: str) -> str:
        """The message, and which flags may have been meant."""
        return "; ".join([message, *filter(None, map(self._meant, self._given))])

    def _meant(self, word: str) -> str:
        """The flag that a misspelt one is nearest to, in words; "" of any other word."""
        flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
        word = word.partition("=")[0]
        if f"-{word}" in flags:
            return f"{word}: did you mean -{word}?"
        if not re.match("--[A-Za-z]", word) or word in flags:
            return ""
        names = [flag.removeprefix("--") for flag in flags]
        form = word.removeprefix("--").lower().replace("_", "-")
        near = [name for name in names if name.startswith(form)]
        near = near or difflib.get_close_matches(form, names, 1, cutoff=0.65)
        return f"{word}: did you mean --{near[0]}?" if near else ""
