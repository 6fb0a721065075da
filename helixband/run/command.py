"""The command line: flags to stages to an exit code.

    helixband --model def.py --data data --result results --hyper --eval --predict 'unlabelled*.fa'

`helixband`, `python -m helixband` and, in a checkout, `python main.py` are this command.

Exit codes: 0 done; 1 the run failed; 2 wrong usage or a wrong def.py. As in shells: 130 after Ctrl-C, 143
after SIGTERM, 141 if the program that read the output has closed it.
"""

import argparse
import contextlib
import gc
import importlib.util
import os
import shutil
import signal
import sys
from collections.abc import Callable

from helixband import importing, interruption
from helixband.env import HASH_SEED, without_credentials
from helixband.errors import (
    FlagParser,
    HelixbandError,
    discard_output,
    let_output_pass,
    told_once,
    warnings_once,
)
from helixband.hparams import Hparams
from helixband.hparams.flags import add_flags, texts
from helixband.run.flags import declares_hparams
from helixband.run.parser import make_parser as make_parser

PACKAGES = tuple("torch numpy scipy h5py pyfaidx sklearn hyperopt rich matplotlib safetensors".split())
"""What every installation has, by the names of their imports."""


class CommandLine:
    """The words of a command, which are read in two steps: a definition can have flags of its own."""

    def __init__(self, words: list[str], program: str) -> None:
        self._words, self._program = words, program
        self._needs_model = not any(word.partition("=")[0] == "--experiment" for word in words)

    def parse(self) -> argparse.Namespace:
        """The flags of main.py; `hparams` says whether there are more, for the definition.

        Ends the process for --help, and for a flag that there is not.
        """
        if {"-h", "--help"} & set(self._words) and (kind := self._kind_for_help()) is not None:
            self._complete(kind).parse_args(self._words)
        parser = make_parser(self._program, self._needs_model)
        args: argparse.Namespace
        args, others = parser.parse_known_args(self._words)
        args.words = list(self._words)
        if args.experiment and args.model:
            parser.error("--model and --experiment: give one of them")
        if args.experiment:  # as Hydra takes them, overrides may stand behind flags too
            overrides = [word for word in others if not word.startswith("-")]
            for word in overrides:
                args.words.remove(word)
                others.remove(word)
            args.experiment += overrides
        elif args.cfg or args.multirun or args.config_dir:
            parser.error("--cfg, --multirun and --config-dir are for --experiment alone")
        elif others and not declares_hparams(args.model):
            told = f"unrecognized arguments: {' '.join(others)}"
            is_meant = parser.explained(told) != told
            parser.error(told if is_meant else told + _of_hyperparameter(args.model, others))
        args.hparams, args.given = bool(others), parser.flags_given()
        return args

    def hyperparameters(self, kind: type[Hparams]) -> dict[str, str]:
        """The texts that the flags of these hyperparameters give, by name."""
        return texts(self._complete(kind).parse_args(self._words))

    def _complete(self, kind: type[Hparams]) -> FlagParser:
        parser = make_parser(self._program, self._needs_model)
        add_flags(parser, kind.fields())
        return parser

    def _kind_for_help(self) -> type[Hparams] | None:
        """The class of the definition that --model names, where it has one."""
        parser = FlagParser(add_help=False)
        parser.add_argument("-f", "--model", nargs="?")
        path = parser.parse_known_args(self._words)[0].model
        if path is None or not os.path.isfile(path) or not declares_hparams(path):
            return None
        from helixband.definition import load_definition  # imports torch

        return load_definition(path).hparams


def _of_hyperparameter(model: str | None, words: list[str]) -> str:
    """That words of a command would give a hyperparameter a value if the definition had any by name."""
    name, _, value = words[0].partition("=")
    value = value or "".join(words[1:2])
    if not (
        name.startswith("--") and value and not value.startswith("--") and model and os.path.isfile(model)
    ):
        return ""
    setting = f"--set {name[2:].replace('-', '_')}={value}"
    return f"\n{model} declares no hyperparameters by name; {setting} gives one of its get_config()"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit code."""
    let_output_pass()
    line = CommandLine(sys.argv[1:] if argv is None else argv, _program() if argv is None else "helixband")
    try:
        with told_once():
            args = line.parse()
    except HelixbandError as error:  # of the definition whose hyperparameters --help was to list
        print(f"error: {without_credentials(str(error))}", file=sys.stderr)
        return error.exit_code
    if argv is None:
        _fix_hashes()
    args.command = _typed(argv)
    interruption.install()
    try:
        _check_packages()
        from helixband.run.early import early_workers  # what --help does without, as torch below

        with contextlib.closing(early_workers(args)) as early:
            run = _imported()
            with warnings_once():
                run(args, line.hyperparameters, early)
    except HelixbandError as error:
        print(f"error: {without_credentials(str(error))}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:  # of ours: one that a definition lacks is told with its traceback
        print(f"error: {error}; install with: pip install -r requirements.txt", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        interruption.ignore()
        terminated = interrupt.args == (signal.SIGTERM,)
        by = "SIGTERM" if terminated else "Ctrl-C"
        print(f"stopped by {by}; the same command goes on from here", file=sys.stderr)
        return 143 if terminated else 130
    except BrokenPipeError:
        # Whoever read our lines has gone, as `head` does; nothing more can be said, not even at exit.
        discard_output()
        return 141
    finally:
        interruption.forget()
    return 0


def _fix_hashes() -> None:
    """Begin this process again with the order that sets of strings have in all processes of a run.

    Python draws it for each process: `list({"a", "b"})` of a definition differs between a run, its workers
    and the command that goes on. A PYTHONHASHSEED of the user's stays.
    """
    if sys.flags.hash_randomization and HASH_SEED not in os.environ and not sys.flags.ignore_environment:
        os.environ[HASH_SEED] = "0"
        os.execv(sys.executable, sys.orig_argv)


def _imported() -> Callable[..., None]:
    """What runs the stages; it imports torch."""
    is_new = "torch" not in sys.modules
    with importing():
        from helixband.run.experiment import run
    if is_new:
        gc.freeze()  # else half a second goes by at the end, as Python looks for garbage among modules
    return run


def _check_packages() -> None:
    """Raise `HelixbandError` where a file hides a package that every run needs."""
    for name in PACKAGES:
        found = importlib.util.find_spec(name)
        if found is not None and found.submodule_search_locations is None:
            raise HelixbandError(
                f"{found.origin} has the name of the package {name}, which every run needs: rename the file, "
                "or take its folder out of PYTHONPATH"
            )


def _program() -> str:
    """What the user called: helixband, main.py, or python -m helixband."""
    name = os.path.basename(sys.argv[0])
    return "python -m helixband" if name == "__main__.py" else name


def _typed(argv: list[str] | None) -> list[str]:
    """The words that begin this command again in the same folder."""
    if argv is not None:
        return [sys.executable, "-m", "helixband", *argv]
    words = list(sys.orig_argv)  # the interpreter, its flags, the script or module, then our flags
    script = len(words) - len(sys.argv)
    found = shutil.which("helixband")
    if found and os.path.isfile(words[script]) and os.path.samefile(found, words[script]):
        return ["helixband", *words[script + 1 :]]
    return words
