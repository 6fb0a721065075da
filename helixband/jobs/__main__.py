"""Jobs from a terminal.

    python -m helixband.jobs submit --name first -- --model def.py --data data --epoch 20
    python -m helixband.jobs submit --name lr --grid lr=1e-3,1e-4 --at-once 4 -- --model def.py --data data
    python -m helixband.jobs status --watch
    python -m helixband.jobs resume first

What follows -- is a command line of main.py, without --result. Jobs run on this machine, or on the --host;
there as processes (--shell), or in Slurm (--slurm).
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from helixband.errors import FlagParser, HelixbandError, UsageError, let_output_pass
from helixband.files import write_whole
from helixband.jobs import Command, Jobs, Scheduler, Shell, SshOs, Table, grid
from helixband.jobs.named import named_commands
from helixband.jobs.settings import read_settings, scheduler_from
from helixband.jobs.status import SILENT_SECONDS

SECONDS_BETWEEN_LOOKS = 2.0


def make_parser() -> argparse.ArgumentParser:
    """The flags of all subcommands."""
    parser = FlagParser(
        prog="python -m helixband.jobs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = parser.add_subparsers(dest="do", required=True, metavar="COMMAND", parser_class=FlagParser)
    for name, told in (("create", "make jobs, and run nothing"), ("submit", "make jobs and have them run")):
        add = _subcommand(kinds, name, told, "JOB: one that was created is submitted as it is").add_argument
        add(
            "--name",
            metavar="NAME",
            help="the job's name, a path such as first/lr (default: by its hparams, else run)",
        )
        add("--replicates", metavar="K", type=int, default=1, help="K versions, each with a seed of its own")
        add(
            "--grid",
            metavar="KEY=V,V…",
            action="append",
            default=[],
            help="a job for each value of a hyperparameter, and for each combination where it is repeated",
        )
        if name == "create":
            add("--print", action="store_true", help="show the script of the first job, and write nothing")
        else:
            _add_at_once(add)
            add("--debug-first", action="store_true", help="a --debug run first; the job if that succeeded")
    add = _subcommand(kinds, "status", "what became of jobs").add_argument
    add("--watch", action="store_true", help="show it again and again, until all have ended")
    add("--silent", metavar="S", type=float, default=SILENT_SECONDS, help=argparse.SUPPRESS)
    add = _subcommand(kinds, "log", "the end of what jobs printed").add_argument
    add("--lines", metavar="N", type=int, default=40, help="so many lines of each file (default: 40)")
    which = "the jobs; '*' is all"
    _add_at_once(_subcommand(kinds, "resume", "submit jobs again that ended too early", which).add_argument)
    _subcommand(kinds, "cancel", "end jobs that wait or run", which)
    add = _subcommand(kinds, "fetch", "copy the folders of jobs to this machine", which).add_argument
    add("--to", metavar="DIR", default="fetched", help="the folder to copy them to (default: fetched)")
    add = _subcommand(kinds, "collect", "one table of hyperparameters and results").add_argument
    add("--output", metavar="FILE", help="write the table to this file (default: print it)")
    add("--predictions", metavar="INPUT", help="merge what jobs predicted on --chromosomes of this input")
    add("--to", metavar="DIR", default=".", help="the folder of the merged predictions (default: .)")
    return parser


def _subcommand(kinds: Any, name: str, told: str, jobs: str = "the jobs (default: all)") -> Any:
    parser = kinds.add_parser(name, help=told, description=told)
    parser.add_argument("jobs", metavar="JOB", nargs="*", help=jobs)
    add = parser.add_argument
    add("--out", metavar="DIR", help="the folder of all jobs (default: as in jobs.toml, or out)")
    add("--host", metavar="HOST", help="a machine of your ssh configuration (default: this one)")
    add("--shell", action="store_true", help="run jobs as processes of the machine")
    add(
        "--slurm",
        metavar="KEY=VALUE,…",
        nargs="?",
        const="",
        help="run jobs in Slurm, with settings such as partition=gpu,time=4:00:00",
    )
    return parser


def _add_at_once(add: Any) -> None:
    add("--at-once", metavar="N", type=int, help="run at most so many jobs of a submission at the same time")


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the flags say; the exit code."""
    let_output_pass()
    words = list(sys.argv[1:] if argv is None else argv)
    own, command = (
        (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    )
    args = make_parser().parse_args(own)
    try:
        return _do(args, command)
    except HelixbandError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("the jobs go on; this command alone has ended", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _do(args: argparse.Namespace, command: list[str]) -> int:
    jobs = _jobs(args)
    if command and args.do not in ("create", "submit"):
        raise UsageError(f"{args.do} takes no command line after --")
    if args.do in ("resume", "cancel", "fetch") and not args.jobs:
        raise UsageError(f"{args.do} needs the names of jobs; status shows them. '*' is all")
    if args.do in ("create", "submit"):
        return _make(jobs, args, command)
    if args.do == "status":
        return _show(jobs, args)
    if args.do == "log":
        print(jobs.log(args.jobs, args.lines))
    elif args.do == "resume":
        print(jobs.resume(args.jobs, args.at_once))
    elif args.do == "cancel":
        print(jobs.cancel(args.jobs))
    elif args.do == "fetch":
        print(*(f"fetched to {path}" for path in jobs.fetch(args.jobs, args.to)), sep="\n")
    elif args.do == "collect":
        _collect(jobs, args)
    return 0


def _collect(jobs: Jobs, args: argparse.Namespace) -> None:
    if args.predictions:
        merged = jobs.collect_predictions(args.predictions, args.jobs, args.to)
        print(*(f"written to {path}" for path in merged), sep="\n")
    elif args.output:
        write_whole(args.output, jobs.collect(args.jobs))
        print(f"written to {args.output}")
    else:
        print(jobs.collect(args.jobs), end="")


def _make(jobs: Jobs, args: argparse.Namespace, words: list[str]) -> int:
    if bool(args.jobs) == bool(words):
        raise UsageError(f"{args.do} needs a command line of main.py: {args.do} [flag …] -- --model def.py …")
    if args.jobs:
        if args.do == "create" or args.name or args.grid:
            raise UsageError(
                f"{args.do} {args.jobs[0]}: what is to be made comes after --, as -- --model def.py"
            )
        print(jobs.submit(jobs.find(args.jobs), at_once=args.at_once, debug_first=args.debug_first))
        return 0
    values = _grid_values(args.grid)
    commands = None if args.name else named_commands(words, values)
    if commands is None:
        base = Command(args.name or "run", words)
        typed = {name: [_value(text) for text in texts] for name, texts in values.items()}
        commands = grid(base, **typed) if values else [base]
    if args.do == "create":
        if args.print:
            print(jobs.script(commands[0]), end="")
            return 0
        print(jobs.status([job.label for job in jobs.create(commands, args.replicates)]))
        return 0
    table = jobs.submit(commands, args.replicates, args.at_once, args.debug_first)
    print(table)
    return 1 if any(status.state == "error" for status in table) else 0


def _grid_values(given: Sequence[str]) -> dict[str, list[str]]:
    """By name the texts of the values that --grid gives."""
    found: dict[str, list[str]] = {}
    for text in given:
        name, equals, values = text.partition("=")
        texts = _between_commas(values)
        if not equals or not name or not all(texts):
            raise UsageError(
                f"--grid {text}: give a hyperparameter and its values, as lr=1e-3,1e-4 or units=[32,64],[64]"
            )
        if name in found:
            raise UsageError(f"--grid {text}: {name} has values already; give all in one --grid")
        found[name] = texts
    return found


def _between_commas(text: str) -> list[str]:
    """The parts of a text; a comma within brackets or quotation marks ends none."""
    parts, depth, quoted = [""], 0, False
    for letter in text:
        quoted ^= letter == '"'
        depth += 0 if quoted else (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _value(text: str) -> Any:
    """A number as it was written, so that a folder has the name that the user gave."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if json.dumps(value) == text else text


def _show(jobs: Jobs, args: argparse.Namespace) -> int:
    table = jobs.status(args.jobs, args.silent)
    if args.watch and sys.stdout.isatty():
        table = _watch_live(jobs, args, table)
    while args.watch and not _all_over(table):
        print(f"{table}\n", flush=True)
        time.sleep(SECONDS_BETWEEN_LOOKS)
        table = jobs.status(args.jobs, args.silent)
    print(table)
    return 0


def _watch_live(jobs: Jobs, args: argparse.Namespace, table: Table) -> Table:
    """The table once all jobs have ended; before, it is drawn in place."""
    from rich.console import Console
    from rich.text import Text

    from helixband.display.screen import Screen

    shown = [table]
    with Screen(Console(highlight=False), lambda: Text(str(shown[0]))):
        while not _all_over(shown[0]):
            time.sleep(SECONDS_BETWEEN_LOOKS)
            shown[0] = jobs.status(args.jobs, args.silent)
    return shown[0]


def _all_over(table: Table) -> bool:
    """Whether none waits or runs; one that was only created does nothing that could be watched."""
    return not any(status.state in ("submitted", "running") for status in table)


def _jobs(args: argparse.Namespace) -> Jobs:
    machine = None
    if args.host:
        machine = SshOs(args.host, python=read_settings(args.host).ssh_python)
    if args.shell and args.slurm is not None:
        raise UsageError("--shell and --slurm: jobs run as processes or in Slurm; give one of them")
    scheduler: Scheduler | None = Shell() if args.shell else None
    if args.slurm is not None:
        scheduler = scheduler_from(args.slurm)
    return Jobs(args.out, machine, scheduler)


if __name__ == "__main__":
    sys.exit(main())
