"""`python -m helixband.interop new NAME --kind KIND`: a project that runs at once."""

import sys
from pathlib import Path

from helixband.errors import FlagParser, HelixbandError, UsageError
from helixband.files import write_whole

KINDS = ("sequence", "table", "lightning")
_STARTERS = Path(__file__).parent / "starters"


def write_starter(name: str, kind: str) -> list[Path]:
    """Write the files of a starter to the new folder `name`; their paths.

    Raises `UsageError` for a folder that has something in it, and for a name that no Python file could have.
    """
    folder = Path(name)
    title = folder.name.replace("-", "_")
    if not title.isidentifier():
        raise UsageError(
            f"the name {folder.name!r} names a Python file too: give letters, digits, _ and - alone"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already: give another name, or an empty folder")
    written = []
    for file in sorted(path for path in (_STARTERS / kind).rglob("*") if path.is_file()):
        path = folder / str(file.relative_to(_STARTERS / kind)).replace("NAME", title).removesuffix("_")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, file.read_text(encoding="utf-8").replace("NAME", folder.name).encode())
        written.append(path)
    return written


def main(words: list[str] | None = None) -> int:
    """`new NAME --kind KIND`; the exit code."""
    parser = FlagParser(
        prog="python -m helixband.interop new", description="Write a project that runs at once."
    )
    parser.add_argument(
        "name", metavar="NAME", help="the folder to write, whose last part is the project's name"
    )
    parser.add_argument("--kind", choices=KINDS, required=True, help="what its data are, or lightning")
    args = parser.parse_args(words)
    try:
        for path in write_starter(args.name, args.kind):
            print(path)
    except HelixbandError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{args.name}/README.md has the commands")
    return 0
