"""What a job runs: a command line of main.py, and the name of the job. And lists of them."""

import argparse
import itertools
import json
import os
import posixpath
import random
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from helixband.errors import UsageError
from helixband.jobs.layout import check_definition, check_name, check_text

SHIPPED = ("config", "try")
"""Flags whose files go with the code, where they lie in its folder."""
OF_FILES = (*SHIPPED, "load_checkpoint", "load_encoder_from", "resume_from", "weights", "names")
NAMINGS = ("number", "ucsc", "ensembl")  # of --names, which takes a file too


@dataclass(frozen=True)
class Command:
    """A command line of main.py without `--result`, which each job has of its own.

    `name` is a path: of folders, and in tables. `values` are the hyperparameters that it stands for, if they
    are known. `hparams` is what they are from, so that `grid` and its like can vary them; those in `fixed`
    are on the command line also where they are defaults, so that neither a search nor get_config() sets them.

    >>> Command("lr=0.1", ["--model", "def.py", "--set", "lr=0.1"]).line
    '--model def.py --set lr=0.1'

    Raises `UsageError` for a name that cannot be one, and for flags that a job cannot have.
    """

    name: str
    argv: Sequence[str]
    values: Mapping[str, Any] = field(default_factory=dict)
    hparams: Any = None
    fixed: Collection[str] = ()
    flags: "Flags" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_name(self.name)
        if isinstance(self.argv, str):
            raise UsageError(f"the command line {self.argv!r} is one text: give a list of its words")
        object.__setattr__(self, "argv", tuple(map(str, self.argv)))
        if wrong := next((word for word in self.argv if "\0" in word), None):
            raise UsageError(f"the word {wrong!r} has a NUL, which no command line can have")
        for word in self.argv:
            check_text(word, "the word")
        object.__setattr__(self, "flags", Flags(self.words))

    @classmethod
    def of(cls, hparams: Any, argv: Sequence[str], fixed: Collection[str] = ()) -> "Command":
        """The command line `argv` with these hyperparameters; the name is their path."""
        return cls(hparams.path(), argv, hparams.to_json(), hparams, fixed)

    @property
    def words(self) -> list[str]:
        """The command line, with the hyperparameters in it."""
        return [*self.argv, *(self.hparams.argv(self.fixed) if self.hparams is not None else [])]

    @property
    def line(self) -> str:
        """The command line as a shell reads it."""
        return shlex.join(self.words)

    def replace(self, **values: Any) -> "Command":
        """This command with other hyperparameters: those of `hparams`, or else by --set, and in the name."""
        if self.hparams is not None:
            names = {type(self.hparams).field(name).name for name in values}
            return Command.of(self.hparams.replace(**values), self.argv, {*self.fixed, *names})
        given = [word for name, value in values.items() for word in ("--set", f"{name}={_as_text(value)}")]
        parts = [f"{name}={_as_text(value)}".replace("/", "_") for name, value in values.items()]
        return Command("/".join([self.name, *parts]), [*self.argv, *given], {**self.values, **values})


class Flags:
    """A command line of main.py, taken apart: `model`, `data`, `seed`, `files` by flag, and the `rest`.

    Of a YAML experiment `model` is its file, and `overrides` are of it. `folder` is that of the code: of the
    definition, or PROJECT_ROOT, by default the one above the experiment's folder.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        parser = _Parser(add_help=False, allow_abbrev=False)
        parser.add_argument("-f", "--model")
        parser.add_argument("--experiment", nargs="+", default=[])
        parser.add_argument("--config-dir", default="")
        parser.add_argument("-d", "--data", default=".")
        parser.add_argument("-r", "--result")
        parser.add_argument("--seed", type=int)
        for name in OF_FILES:
            parser.add_argument(f"--{name.replace('_', '-')}")
        found, self.rest = parser.parse_known_args(list(argv))
        if not (found.model or found.experiment):
            raise UsageError(
                f"the command line {shlex.join(argv)!r} has no --model: a job needs a definition, "
                "or an --experiment"
            )
        if found.result is not None:
            raise UsageError(f"--result {found.result}: each job has results of its own; leave the flag out")
        self.model, self.data, self.seed = Path(found.model or ""), str(found.data), found.seed
        self.overrides, self.folder = found.experiment[1:], self.model.absolute().parent
        self.is_experiment = bool(found.experiment)
        if found.experiment:
            self.model = Path(found.config_dir, found.experiment[0])
            above = self.model.absolute().parent.parent
            self.folder = Path(os.environ.get("PROJECT_ROOT", above)).absolute()
        check_definition(self.model.stem)
        self.files: dict[str, str] = {
            name: value for name in OF_FILES if (value := getattr(found, name)) is not None
        }

    def shipped(self) -> dict[str, str]:
        """Flag -> path relative to the definition's folder, of files that go with the code."""
        found = {}
        for name in SHIPPED:
            path = Path(self.files[name]).absolute() if name in self.files else None
            if path is not None and path.is_file() and path.is_relative_to(self.folder):
                found[name] = str(path.relative_to(self.folder))
        return found

    def configurations(self) -> list[str]:
        """The YAML files of an experiment, relative to the folder of the code."""
        files = self.model.absolute().parent.rglob("*.y*ml") if self.is_experiment else []
        return sorted(os.path.relpath(file, self.folder) for file in files)

    def words(self, base: str, seed: int) -> list[str]:
        """The words of main.py in the unpacked code, but for `--data` and `--result`.

        `base`: the folder on the machine that relative paths are from.
        """
        shipped, words = self.shipped(), ["--model", self.model.name]
        if self.is_experiment:
            words = ["--experiment", os.path.relpath(self.model, self.folder), *self.overrides]
        for name, value in self.files.items():
            is_path = not (name == "names" and value in NAMINGS)
            placed = shipped.get(name) or (posixpath.join(base, value) if is_path else value)
            words += [f"--{name.replace('_', '-')}", placed]
        return [*words, "--seed", str(seed if self.seed is None else self.seed), *self.rest]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def grid(base: Command, /, **values: Iterable[Any]) -> list[Command]:
    """A command for each combination of these values; the last name varies fastest.

    >>> [each.name for each in grid(Command("x", ["--model", "def.py"]), lr=[0.1, 0.2])]
    ['x/lr=0.1', 'x/lr=0.2']
    """
    choices = {name: _listed(name, value) for name, value in values.items()}
    combinations = itertools.product(*choices.values())
    return [base.replace(**dict(zip(choices, each, strict=True))) for each in combinations]


def changes(base: Command, rows: Iterable[Mapping[str, Any]]) -> list[Command]:
    """A command for each row: the values that it changes, by name; {} is `base` itself."""
    return [base.replace(**row) if row else base for row in rows]


def sample(base: Command, n: int, seed: int = 0, **space: Any) -> list[Command]:
    """So many commands with random hyperparameters, the same for the same seed.

    `space`: by name a list to choose from, a Range, or a function that draws a value with a `random.Random`.
    Without it, what the classes of `base.hparams` declare with `search` is drawn.
    """
    generator = random.Random(seed)
    if not space:
        return [base.replace(**_declared(base, generator)) for _ in range(n)]
    draws = {name: _drawn_by(base, name, choice) for name, choice in space.items()}
    return [base.replace(**{name: draw(generator) for name, draw in draws.items()}) for _ in range(n)]


def _declared(base: Command, generator: random.Random) -> dict[str, Any]:
    """What is searched of the hyperparameters of a command, drawn once."""
    names = list(type(base.hparams).space()) if base.hparams is not None else []
    if not names:
        raise UsageError(
            "nothing is declared to be searched: name what to draw, as in sample(…, lr=[0.1, 0.2])"
        )
    drawn = type(base.hparams).draw(generator)
    return {name: drawn[name] for name in names}


def _drawn_by(base: Command, name: str, choice: Any) -> Callable[[random.Random], Any]:
    if callable(choice):
        return choice  # type: ignore[no-any-return]
    if base.hparams is not None and (isinstance(choice, Mapping) or hasattr(choice, "at")):
        choice = type(base.hparams).field(name).search_of(choice)  # of an int, it has whole numbers
    if hasattr(choice, "at"):  # a Range of helixband.hparams
        return lambda generator: choice.at(generator.random())
    values = _listed(name, choice)
    return lambda generator: generator.choice(values)


def _listed(name: str, values: Any) -> list[Any]:
    found = list(values) if isinstance(values, Iterable) and not isinstance(values, str | Mapping) else []
    if not found:
        raise UsageError(f"{name}={values!r}: give a list of the values to try, with one at least")
    return found


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
