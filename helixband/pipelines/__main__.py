"""Bundles of trained models, from a terminal.

    python -m helixband.pipelines export RESULT BUNDLE --onnx
    python -m helixband.pipelines BUNDLE input.fa --trust > out.tsv

`export` runs the def.py of RESULT. A prediction runs the one of the bundle, and asks for --trust, unless the
bundle has an ONNX graph.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helixband.errors import FlagParser, HelixbandError, let_output_pass

EXPORT = "export"


def make_parser() -> FlagParser:
    """The flags of a prediction."""
    parser = FlagParser(
        prog="python -m helixband.pipelines",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", help="a bundle, or a result directory")
    add("input", metavar="INPUT", help="the file to predict on, in a form that --predict reads")
    add("--genome", metavar="FILE", help="the genome's FASTA, for intervals")
    add("--trust", action="store_true", help="run the code of the bundle: you trust whoever made it")
    add("--cpu", action="store_true", help="do not use a GPU")
    return parser


def make_export_parser() -> FlagParser:
    """The flags of an export."""
    parser = FlagParser(
        prog="python -m helixband.pipelines export",
        description="Make a folder with all that predictions need. It runs the def.py of RESULT.",
    )
    add = parser.add_argument
    add("result", metavar="RESULT", help="the result directory of a run")
    add("out", metavar="BUNDLE", help="the folder to make; an earlier bundle there is replaced")
    add(
        "--include",
        metavar="FILE",
        nargs="+",
        action="extend",
        default=[],
        help="further files, folders or globs in the definition's folder, such as a vocabulary",
    )
    add("--onnx", action="store_true", help="add an ONNX graph, which predicts without running code")
    add("--inputs", metavar="FILE", help="a real input: --onnx is checked on it, and the form of x recorded")
    add("--data", metavar="DIR", help="the data directory (default: that of the last run)")
    add("--use", metavar="TEXT", default="", help="the intended use, for the card")
    add("--as-module", action="store_true", help="also write BUNDLE.py, with a predict to import")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit code."""
    let_output_pass()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words[:1] == [EXPORT]:
            _export(make_export_parser().parse_args(words[1:]))
        else:
            _predict(make_parser().parse_args(words))
    except HelixbandError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _export(args: argparse.Namespace) -> None:
    from helixband.pipelines.exporting import Options, export

    options = Options(args.include, args.onnx, args.inputs, args.data, args.use, args.as_module)
    for line in export(args.result, args.out, options):
        print(line, file=sys.stderr)


def _predict(args: argparse.Namespace) -> None:
    from helixband.pipelines import load

    predict = load(args.bundle, args.trust, cpu=args.cpu)
    if predict.reads_texts:
        for one in predict(Path(args.input).absolute()):
            print(json.dumps(one, ensure_ascii=False))
        return
    y_pred, regions = predict.regions(str(Path(args.input).absolute()), args.genome)
    sys.stdout.write(_table(y_pred, regions, args.input))


def _table(y_pred: Any, regions: Any, path: str) -> str:
    """The predictions as `--predict` writes its table; without regions, numbered from 0."""
    from helixband.errors import UsageError
    from helixband.outputs import table
    from helixband.outputs.whole import has_table, regions_of_records

    if isinstance(y_pred, dict) or y_pred.ndim > 2:
        raise UsageError(
            "a prediction is no number or row of numbers, and has no table; call predict in Python"
        )
    if regions is None and has_table(path, y_pred):
        regions = regions_of_records(path, len(y_pred))
    if regions is not None:
        return table.titles(y_pred.shape) + table.lines(regions, y_pred)
    columns = y_pred.reshape(len(y_pred), -1)
    titles = table.titles(y_pred.shape).split("\t")[4:]
    lines = ["\t".join(["number", *titles])]
    lines += [f"{n}\t" + "\t".join(f"{value:.6g}" for value in row) + "\n" for n, row in enumerate(columns)]
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
