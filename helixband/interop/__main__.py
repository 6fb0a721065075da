"""`python -m helixband.interop module.py:LitModel data.py:CoraData …`: no def.py, and flags of main.py."""

import runpy
import sys

from helixband.interop.new import main as new

USAGE = """\
usage: python -m helixband.interop FILE.py:MODULE FILE.py:DATAMODULE [flags of main.py]
       python -m helixband.interop new NAME --kind sequence|table|lightning

Trains, tunes, evaluates and predicts with a LightningModule and a LightningDataModule as they
are. The module is made with the configuration as its arguments (--set lr=1e-3), the DataModule
with data_dir and batch_size where it takes them. With new, writes a project that runs at once.
"""


def main(arguments: list[str]) -> None:
    """Call the command with the classes in the place of a definition, or write a project."""
    if arguments[:1] == ["new"]:
        sys.exit(new(arguments[1:]))
    if len(arguments) < 2 or arguments[0] in ("-h", "--help") or arguments[1].startswith("-"):
        print(USAGE, end="")
        sys.exit(0 if arguments[:1] in (["-h"], ["--help"]) else 2)
    sys.argv[1:] = ["--model", ",".join(arguments[:2]), *arguments[2:]]
    runpy.run_module("helixband.__main__", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
