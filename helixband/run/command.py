"""The command line: flags to stages to an exit code.

    helixband --model def.py --data data --result results --hyper --eval --predict 'unlabelled*.fa'

`helixband`, `python -m helixband` and, in a checkout, `python main.py` are this command.

Exit codes: 0 done; 1 the run failed; 2 wrong usage or a wrong def.py. As in shells: 130 after Ctrl-C, 143
after SIGTERM, 141 if the program that read the output has closed it.
"""

import argparse
import importlib.util
import os
import shutil
import signal
import sys

from helixband import __version__, interruption
from helixband.env import without_credentials
from helixband.errors import FlagParser, HelixbandError, discard_output, let_output_pass, told_once
from helixband.hparams import Hparams
from helixband.hparams.flags import add_flags, texts
from helixband.outputs import FORMATS
from helixband.run.flags import declares_hparams
from helixband.run.values import eta, names, natural, pack, positive, seconds
from helixband.search.samplers import SAMPLERS

EPILOG = """\
Finished work in the result directory is not repeated. Interrupted work continues where it stopped.
--help with --model FILE lists the hyperparameters of that definition, each of which is a flag.
docs/def.md explains how to write a definition, docs/results.md what the result directory contains.
"""

PACKAGES = tuple("torch numpy scipy h5py pyfaidx sklearn hyperopt rich matplotlib safetensors".split())
"""What every installation has, by the names of their imports."""


def make_parser(program: str = "helixband") -> FlagParser:
    """The flags of the command of this name.

    A default of None means: the value recorded in the result directory, or that of the help.
    """
    parser = FlagParser(
        prog=program,
        description="Tune, train, evaluate and predict an experiment that is defined in one Python file.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument_group("the experiment").add_argument
    add("-f", "--model", metavar="FILE", required=True, help="the definition, for example def.py")
    add("-d", "--data", metavar="DIR", default=".", help="the data directory (default: .)")
    add("-r", "--result", metavar="DIR", default="results", help="the result directory (default: results)")
    add = parser.add_argument_group("what to do, in this order (by default: --train)").add_argument
    add("--check", action="store_true", help="report what could explain a good score besides biology")
    add(
        "-t",
        "--train",
        action="store_true",
        help="train one configuration, or train it on; --epoch, --config, --set, --debug and the flag of a "
        "hyperparameter ask for it too",
    )
    add(
        "-y",
        "--hyper",
        action="store_true",
        help="search for the best hyperparameters (with Hyperband, unless --schedule says otherwise)",
    )
    add("-e", "--eval", action="store_true", help="evaluate the model on the test set")
    add(
        "-p",
        "--predict",
        metavar="SUBPATH",
        nargs="+",
        default=[],
        help="predict on these inputs: paths or globs under the data directory",
    )
    add("--mc-dropout", metavar="N", type=positive, help="evaluate and predict N times with dropout left on")
    add(
        "--debug",
        action="store_true",
        help="run one epoch of two batches in RESULT/debug, and print the model",
    )
    add = parser.add_argument_group("how").add_argument
    add(
        "-ep",
        "--epoch",
        metavar="N",
        type=positive,
        help="the maximum number of epochs of a trial (default: 20)",
    )
    add(
        "-bs",
        "--batch-size",
        metavar="N",
        type=positive,
        help="the number of examples in a training batch, over all processes of torchrun (default: 100)",
    )
    add(
        "--seed",
        metavar="N",
        type=natural,
        help="the seed from which all random numbers are derived (default: 0)",
    )
    add("--config", metavar="FILE.json", help="use this fixed configuration instead of get_config()")
    add(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="set a hyperparameter of the fixed configuration; with --hyper, fix it and tune the others; "
        "may be repeated. Where the definition has hparams, --KEY VALUE does the same",
    )
    add(
        "--with",
        dest="training",
        metavar="NAME=VALUE",
        nargs="+",
        action="extend",
        help="train with these options, whatever the definition says; docs/training.md lists them",
    )
    add(
        "--load-checkpoint",
        metavar="FILE",
        help="begin each new training with the weights of this file: a checkpoint of Helixband or Lightning, "
        "a state_dict, or safetensors",
    )
    add(
        "--load-encoder-from",
        metavar="FILE[:PART]",
        help="begin each new training with a part of these weights, for example pretrained.ckpt:encoder",
    )
    add(
        "--resume-from",
        metavar="FILE",
        help="go on from this state of a single training, a last.pt of any result directory",
    )
    add(
        "--trust-checkpoint",
        action="store_true",
        help="run the code in the file of --load-checkpoint or --load-encoder-from, if it needs any",
    )
    add(
        "--keep-checkpoints",
        metavar="N",
        type=natural,
        help="keep the states of the N latest epochs of a trial, besides the best and the last (default: 0)",
    )
    add(
        "--stride",
        metavar="N",
        type=positive,
        help="for sequences: predict windows N bases apart (default: their length)",
    )
    add(
        "--both-strands",
        action="store_true",
        help="for sequences: predict the mean of both strands of each window",
    )
    add(
        "--format",
        nargs="+",
        choices=list(FORMATS),
        help="for sequences: the file formats of the predictions (default: npy tsv)",
    )
    add(
        "--chromosomes",
        metavar="NAME[,NAME…]",
        type=names,
        help="for sequences: predict only on these chromosomes or records of an input",
    )
    add(
        "--names",
        metavar="number|ucsc|ensembl|FILE",
        help="what records are called in the tables and tracks of predictions: number counts them, for FASTA "
        "files that repeat names; ucsc and ensembl write chr1 or 1; a FILE has two columns, old and new name",
    )
    add(
        "--no-data-check",
        action="store_true",
        help="do not make the data of all stages, and try a batch of each, before any work",
    )
    add("--dry-run", action="store_true", help="check everything before any work, and do nothing else")
    add("-c", "--cpu", action="store_true", help="use the CPU even if there is a GPU")
    add("--force", action="store_true", help="continue with the results of another def.py or environment")
    add("--quiet", action="store_true", help="print nothing but errors")
    add("--version", action="version", version=f"helixband {__version__}")
    _add_search_flags(parser.add_argument_group("how to search"))
    return parser


def _add_search_flags(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--schedule",
        choices=["hyperband", "asha", "sha", "none"],
        help="which trials continue: hyperband runs several brackets of successive halving; sha runs only "
        "the first one; asha runs it asynchronously; none trains every trial to the end (default: "
        "hyperband)",
    )
    add("--eta", metavar="N", type=eta, help="at each rung, one trial in N continues (default: 3)")
    add(
        "--sampler",
        choices=["auto", *SAMPLERS],
        help="how configurations are found: random takes them as get_config() draws them; tpe and density "
        "learn from the good ones, tpe with hyperopt expressions and density without; auto, the "
        "default, chooses tpe or density",
    )
    add(
        "--trials",
        metavar="N",
        type=positive,
        help="the total number of configurations (default: those of one round of Hyperband, which is each of "
        "its brackets once)",
    )
    add(
        "--try",
        metavar="FILE.json",
        help="begin with these known configurations, an object or a list of them; they count as trials",
    )
    add(
        "--time-budget",
        metavar="TIME",
        type=seconds,
        help="stop the search after this time, for example 90m or 1h30m",
    )
    add(
        "--stop-hopeless",
        action="store_true",
        default=None,
        help="stop a trial early if no gain seen so far would bring it to the best trial's reward",
    )
    add(
        "--workers",
        metavar="N",
        type=positive,
        help="how many trials run at the same time, in processes on this machine (default: 1)",
    )
    add(
        "--pack",
        metavar="N|off",
        type=pack,
        help="train up to N trials together in one process, as one computation where their networks allow it "
        "(default: off; a search that was begun with it goes on with it)",
    )
    add(
        "--trials-per-gpu",
        metavar="N",
        type=positive,
        help="how many trials run at the same time on each GPU (default: 1)",
    )
    add(
        "--cluster",
        metavar="ADDRESS",
        help="run the trials on a Dask cluster: tcp://host:port, slurm:[key=value,…] or ssh:host,host",
    )


class CommandLine:
    """The words of a command, which are read in two steps: a definition can have flags of its own."""

    def __init__(self, words: list[str], program: str) -> None:
        self._words, self._program = words, program

    def parse(self) -> argparse.Namespace:
        """The flags of main.py; `hparams` says whether there are more, for the definition.

        Ends the process for --help, and for a flag that there is not.
        """
        if {"-h", "--help"} & set(self._words) and (kind := self._kind_for_help()) is not None:
            self._complete(kind).parse_args(self._words)
        parser = make_parser(self._program)
        args: argparse.Namespace
        args, others = parser.parse_known_args(self._words)
        if others and not declares_hparams(args.model):
            parser.error(f"unrecognized arguments: {' '.join(others)}")
        args.hparams, args.given = bool(others), parser.flags_given()
        return args

    def hyperparameters(self, kind: type[Hparams]) -> dict[str, str]:
        """The texts that the flags of these hyperparameters give, by name."""
        return texts(self._complete(kind).parse_args(self._words))

    def _complete(self, kind: type[Hparams]) -> FlagParser:
        parser = make_parser(self._program)
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
    args.command = _typed(argv)
    interruption.install()
    try:
        _check_packages()
        from helixband.run.experiment import run  # imports torch, which --help does without

        run(args, line.hyperparameters)
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
