"""A report of a result directory, as one HTML file to open in a browser.

    python -m helixband.report results
    python -m helixband.report results --output report.html --export trials.csv

It tells of a run that is finished, unfinished or at work, from the files in its directory alone.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from helixband.errors import FlagParser, HelixbandError, StorageError, UsageError, let_output_pass


def make_parser() -> argparse.ArgumentParser:
    """The flags of the command line."""
    parser = FlagParser(
        prog="python -m helixband.report",
        description="Write RESULT/report.html, or --output: the trials of a run, their outcomes, and which "
        "hyperparameters matter.",
    )
    add = parser.add_argument
    add("result", metavar="RESULT", help="the result directory of a run")
    add("-o", "--output", metavar="FILE", help="write the report to this file (default: RESULT/report.html)")
    add(
        "--export",
        metavar="FILE",
        help="also write the trials to a .csv file, or to an Optuna study (.db or .sqlite)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Write what the flags say; the exit code."""
    let_output_pass()
    args = make_parser().parse_args(argv)
    try:
        _write(Path(args.result), args.output, args.export)
    except HelixbandError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _write(result: Path, output: str | None, exported: str | None) -> None:
    from helixband.files import write_whole
    from helixband.report.export import check_suffix, export
    from helixband.report.html import report_html
    from helixband.report.summary import read_summary
    from helixband.results.directory import existing_results

    if exported:
        check_suffix(exported)
    if output and not Path(output).absolute().parent.is_dir():
        raise UsageError(f"--output {output}: the folder {Path(output).parent} does not exist")
    results = existing_results(result)
    with results.watched():
        summary = read_summary(result)
        report = Path(output) if output else results.report_file
        try:
            write_whole(report, report_html(summary))
        except StorageError as error:
            raise StorageError(f"{error}; give the place of the report with --output") from error
    print(f"written to {report}")
    if exported:
        export(summary, exported)
        print(f"written to {exported}")


if __name__ == "__main__":
    sys.exit(main())
