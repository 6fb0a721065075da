"""The flags of the command."""

import argparse

from helixband import __version__
from helixband.errors import FlagParser
from helixband.outputs import FORMATS
from helixband.run.values import batch_size, eta, names, natural, pack, positive, seconds
from helixband.search.samplers import SAMPLERS

EPILOG = """\
Finished work in the result directory is not repeated. Interrupted work continues where it stopped.
--help with --model FILE lists the hyperparameters of that definition, each of which is a flag.
docs/def.md explains how to write a definition, docs/results.md what the result directory contains.
"""


def make_parser(program: str = "helixband", needs_model: bool = True) -> FlagParser:
    """The flags of the command of this name.

    A default of None means: the value recorded in the result directory, or that of the help. An experiment
    in YAML `needs_model` not.
    """
    parser = FlagParser(
        prog=program,
        description="Tune, train, evaluate and predict an experiment that is defined in one Python file.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument_group("the experiment").add_argument
    add("-f", "--model", metavar="FILE", required=needs_model, help="the definition, for example def.py")
    add(
        "--experiment",
        metavar=("FILE", "OVERRIDE"),
        nargs="+",
        help="an experiment in YAML as Hydra composes it, for example configs/train.yaml, and overrides of "
        "it; docs/experiments.md",
    )
    add("-d", "--data", metavar="DIR", default=".", help="the data directory (default: .)")
    add("-r", "--result", metavar="DIR", default="results", help="the result directory (default: results)")
    add("--config-dir", metavar="DIR", help="the folder in which FILE of --experiment is")
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
        metavar="N|auto",
        type=batch_size,
        help="the number of examples in a training batch, over all processes of torchrun (default: 100); "
        "auto: the largest with which a training step fits on the GPU",
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
        "--weights",
        metavar="FILE",
        help="evaluate and predict with the weights of this file as they are, without a training",
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
        help="run the code in a file of weights, if it needs any to be read",
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
    add(
        "--cfg",
        choices=["job", "hydra", "all"],
        help="print the composed experiment, or what Hydra has for itself, or both, and do nothing else",
    )
    add(
        "-m",
        "--multirun",
        action="store_true",
        help="a job for each combination of the experiment's overrides that have several values; a search "
        "where the experiment has hydra.sweeper.params",
    )
    add("--dry-run", action="store_true", help="check everything before any work, and do nothing else")
    add("-c", "--cpu", action="store_true", help="use the CPU even if there is a GPU")
    add(
        "--nondeterministic",
        action="store_true",
        help="let cuDNN take the fastest algorithms on a GPU; the same seed then gives other last digits",
    )
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
        help="how many trials, or chunks of --eval and --predict, run at the same time, in processes on this "
        "machine (default: 1)",
    )
    add(
        "--pack",
        metavar="N|off|auto",
        type=pack,
        help="train up to N trials together in one process, as one computation where their networks allow "
        "it; auto: 8, if a short timing says that they are faster (default: off; a search that was begun "
        "with it goes on with it)",
    )
    add(
        "--trials-per-gpu",
        metavar="N",
        type=positive,
        help="how many of them run at the same time on each GPU (default: 1)",
    )
    add(
        "--cluster",
        metavar="ADDRESS",
        help="run trials and chunks of --eval and --predict on a Dask cluster: tcp://host:port, "
        "slurm:[key=value,…] or ssh:host,host",
    )
