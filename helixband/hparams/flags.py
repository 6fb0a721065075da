"""Hyperparameters on a command line: their flags, and the words that give values."""

import argparse
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from helixband.errors import FlagParser, UsageError
from helixband.hparams.declaration import Hparam
from helixband.hparams.ranges import Range

FLAGS_OF_MAIN = frozenset(
    "model data result check train hyper eval predict mc-dropout debug epoch batch-size seed config set "
    "with load-checkpoint load-encoder-from resume-from weights trust-checkpoint keep-checkpoints stride "
    "both-strands format chromosomes names no-data-check dry-run cpu force quiet version schedule eta "
    "sampler trials try time-budget stop-hopeless workers pack trials-per-gpu cluster help experiment "
    "config-dir cfg multirun nondeterministic".split()
)
"""Flags that main.py has itself. A hyperparameter of such a name has none, and is given by --set."""

_DEST = "hparam:"


class HparamParser(FlagParser):
    """A parser that raises `UsageError`, where a command would end with exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong."""
        raise UsageError(self.explained(message))

    def _meant(self, word: str) -> str:
        flag = word.partition("=")[0]
        if flag.startswith("--") and dashed(flag[2:]) in FLAGS_OF_MAIN and flag != "--set":
            return f"{flag} is a flag of main.py: give a hyperparameter of that name by --set"
        return super()._meant(word)


def dashed(name: str) -> str:
    """The name as a flag, without its dashes."""
    return name.replace("_", "-")


def has_flag(field: Hparam) -> bool:
    """Whether it has a flag of its own."""
    return dashed(field.name) not in FLAGS_OF_MAIN


def words(field: Hparam, value: Any) -> list[str]:
    """The words of a command line that give a hyperparameter a value."""
    text = field.kind.write(value)
    return [f"--{dashed(field.name)}={text}"] if has_flag(field) else ["--set", f"{field.name}={text}"]


def add_flags(parser: argparse.ArgumentParser, fields: Mapping[str, Hparam]) -> None:
    """Add a flag for each hyperparameter, in one group a class; `texts` reads what they give."""
    owners: dict[type[Any], list[Hparam]] = {}
    for field in fields.values():
        owners.setdefault(field.owner, []).append(field)
    for owner, own in owners.items():
        told = [inspect.cleandoc(vars(owner).get("__doc__") or "").partition("\n")[0]]
        told += [
            f"--set {field.name}={field.kind.metavar}  {_help(field)}; "
            f"main.py has --{dashed(field.name)} itself"
            for field in own
            if not has_flag(field)
        ]
        title = f"hyperparameters: {owner.__name__}"
        text = "\n".join(filter(None, told))
        # argparse formats a description only if it has this.
        group = parser.add_argument_group(title, text.replace("%", "%%") if "%(prog)" in text else text)
        for field in filter(has_flag, own):
            _add_flag(group, field)


def add_set(parser: argparse.ArgumentParser) -> None:
    """Add `--set`, as main.py has it."""
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="set a hyperparameter by its name; may be repeated",
    )


def texts(parsed: argparse.Namespace) -> dict[str, str]:
    """What the flags of hyperparameters give, by name, as it was written."""
    found = ((name, text) for name, text in vars(parsed).items() if name.startswith(_DEST))
    # Of --name=-- some versions of argparse take the value for the end of the flags, and give [].
    return {name.removeprefix(_DEST): "--" if text == [] else text for name, text in found}


def given(
    by_flag: Mapping[str, str], assignments: Iterable[str], field_of: Callable[[str], Hparam]
) -> dict[str, Any]:
    """The values that flags (`texts`) and `--set NAME=VALUE` give, by name; None stands for the default.

    Raises `UsageError` for an unknown name, for a value that does not fit, and for a name given both ways.
    """
    values = {name: field_of(name).read(text, f"--{dashed(name)}") for name, text in by_flag.items()}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not name.strip() or not equals:
            raise UsageError(f"--set takes name=value, got {assignment!r}")
        field = field_of(name.strip())
        if field.name in by_flag:
            raise UsageError(
                f"--set {assignment} and --{dashed(field.name)} {by_flag[field.name]} both give "
                f"{field.name}; leave one of them out"
            )
        values[field.name] = field.read(text, f"--set {field.name}")
    return values


def _add_flag(group: argparse._ArgumentGroup, field: Hparam) -> None:
    either = dict.fromkeys([f"--{dashed(field.name)}", f"--{field.name}"])
    group.add_argument(
        *either,
        dest=f"{_DEST}{field.name}",
        metavar=field.kind.metavar,
        default=argparse.SUPPRESS,
        help=_help(field).replace("%", "%%"),
    )


def _help(field: Hparam) -> str:
    default = "none" if field.default is None else field.kind.write(field.default)
    search = f"; searched: {_searched(field)}" if field.search is not None else ""
    return f"{field.help} (default: {default}{search})"


def _searched(field: Hparam) -> str:
    if isinstance(field.search, Range):
        return str(field.search).removeprefix("Range").strip("()").replace(", ", " to ", 1)
    return ", ".join(map(field.kind.write, field.search or []))
