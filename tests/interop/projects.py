"""The lightning starter as a project in a folder, and its commands in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

from helixband.interop.new import write_starter

ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def made(folder: Path, kind: str = "lightning", name: str = "bars") -> Path:
    """A starter with its data."""
    write_starter(str(folder / name), kind)
    run(folder / name, "make_data.py")
    return folder / name


def run(folder: Path, *words: str, code: int = 0) -> str:
    """What a command of Python prints in a folder; it has to end with this exit code."""
    without_root = {name: value for name, value in os.environ.items() if name != "PROJECT_ROOT"}
    command = [sys.executable, *words]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**without_root, **ENVIRONMENT}, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr
