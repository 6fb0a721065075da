"""What the tests share: an experiment in a folder of its own, run in this process."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(
    os.environ.get("HELIXBAND_DATA") or ROOT.parent / "shared" / "data"
)  # real data, where there are any
sys.path.insert(0, str(ROOT))

from toys import FASTA, TOY  # noqa: E402

from helixband import env  # noqa: E402
from helixband.run import command  # noqa: E402


@dataclass
class Run:
    """What a command line came to."""

    code: int
    out: str
    err: str


class Project:
    """A folder with def.py, data/ and, after a run, results/."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self.definition = path / "def.py"
        self.data = path / "data"
        self.results = path / "results"
        self._capsys = capsys
        self.data.mkdir()
        (self.data / "x.fa").write_text(FASTA)
        self.define()

    def define(self, extra: str = "") -> None:
        """The toy definition, and after it `extra`."""
        self.definition.write_text(TOY + extra)

    def arguments(self, *flags: str) -> list[str]:
        """A short run on the CPU; a flag given twice counts as given last."""
        places = ["--model", self.definition, "--data", self.data, "--result", self.results]
        return [*map(str, places), "--cpu", *flags]

    def run(self, *flags: str) -> Run:
        """The command line in this process."""
        self._capsys.readouterr()
        try:
            code = command.main(self.arguments(*flags))
        except SystemExit as exit:  # argparse
            code = int(exit.code or 0)
        return Run(code, *self._capsys.readouterr())

    def start(self, *flags: str, **options: Any) -> "subprocess.Popen[str]":
        """The command line in a process of its own."""
        command = [sys.executable, "-W", "error", "-u", str(ROOT / "main.py"), *self.arguments(*flags)]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": self.path, **options}
        return subprocess.Popen(command, text=True, **options)

    def read(self, name: str) -> str:
        """A file of the results."""
        return (self.results / name).read_text()

    def json(self, name: str) -> Any:
        """A JSON file of the results."""
        return json.loads(self.read(name))

    def journal(self) -> list[dict[str, Any]]:
        """The events of the search."""
        return [json.loads(line) for line in self.read("search/journal.jsonl").splitlines()]

    def clear(self) -> None:
        """Remove the results."""
        shutil.rmtree(self.results)


class Clock:
    """A clock that a test sets, in the place of the module `time`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Project:
    return Project(tmp_path, capsys)


@pytest.fixture(autouse=True)
def _process_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a run leaves in its process: signal handlers, the definition's modules, the environment read."""
    monkeypatch.setattr(env, "_read", {})
    monkeypatch.setenv("HELIXBAND_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
