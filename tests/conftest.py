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
import torch
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(
    os.environ.get("HELIXBAND_DATA") or ROOT.parent / "shared" / "data"
)  # real data, where there are any
sys.path.insert(0, str(ROOT))
# A module that a test writes again within a second, of the same size, would else be the one compiled before.
sys.dont_write_bytecode = True

from toys import FASTA, TOY  # noqa: E402

from helixband import env, interruption  # noqa: E402
from helixband.results.journal import Journal  # noqa: E402
from helixband.results.trial import Trial  # noqa: E402
from helixband.run import command  # noqa: E402
from helixband.search.executors.printed import Printed  # noqa: E402

LONG = (
    "tests/jobs/test_jobs_slurm.py",
    "tests/jobs/test_jobs_ssh.py",
    "tests/search/executors/test_cluster.py",
    "tests/search/executors/test_cluster_slurm.py",
    "tests/search/executors/test_cluster_ssh.py",
    "tests/report/test_report_browser.py",
    "tests/run/test_resume.py",
    "tests/search/test_search.py",
    "tests/search/executors/test_worker_process.py",
)
"""Where several workers share the tests, the files of those that take seconds come first."""
APART = LONG[6:]
"""The tests of these share nothing, and each goes to whichever worker is free; other files stay whole."""

for _name in ("COLUMNS", "LINES"):  # as a shell or a library set them: a terminal tells its size itself
    os.environ.pop(_name, None)
settings.register_profile(
    "busy machines", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy machines")
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # the other cores are for the other workers


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """A worker for each core; two at least, as many tests wait, and eight at most, which take 6 GB."""
    return min(max(len(os.sched_getaffinity(0)), 2), 8)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hands out files, or single tests, in the order of the collection."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return nodeid if file in APART else file

    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        places = {file: place - len(LONG) for place, file in enumerate(LONG)}
        items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], 0))


def untimed(table: str) -> str:
    """The text of a train_results.csv without the last column, the seconds that each epoch took."""
    lines = table.splitlines(keepends=True)
    assert not lines or lines[0].endswith(",seconds\n")
    return "".join(line.rpartition(",")[0] + "\n" for line in lines)


def printed_by(trial: Trial, *pieces: bytes, ended: bool = True) -> str:
    """Have these pieces, one after another, be what a process prints in a trial; its last words."""
    printed = Printed()
    printed.expect(trial)
    try:
        for piece in (printed.mark, *pieces, *[printed.mark] * ended):
            os.write(printed.target, piece)
            printed.take()
        printed.take(ended=True)
        return printed.tail()
    finally:
        os.close(printed.target)
        printed.close()


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
        self.started: list[subprocess.Popen[str]] = []
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
        # -W takes no patterns: the one module of another package that warns is named.
        warnings = ["-W", "error", "-W", "ignore::DeprecationWarning:hyperopt.pyll.stochastic"]
        command = [sys.executable, *warnings, "-u", str(ROOT / "main.py"), *self.arguments(*flags)]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": self.path, **options}
        process = subprocess.Popen(command, text=True, **options)
        self.started.append(process)
        return process

    def close(self) -> None:
        """End what was started, and close its pipes."""
        for process in self.started:
            process.kill()
            process.communicate()

    def read(self, name: str) -> str:
        """A file of the results."""
        return (self.results / name).read_text()

    def json(self, name: str) -> Any:
        """A JSON file of the results."""
        return json.loads(self.read(name))

    def predictions(self) -> list[Path]:
        """The files of predictions, without the records of what is done."""
        paths = sorted((self.results / "predictions").iterdir())
        return [path for path in paths if not path.name.endswith(".record.json")]

    def journal(self) -> list[dict[str, Any]]:
        """The events of the search."""
        return Journal(self.results / "search/journal.jsonl").events()

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
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Project]:
    project = Project(tmp_path, capsys)
    yield project
    project.close()


@pytest.fixture(autouse=True)
def _process_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a run leaves in its process: signal handlers, the definition's modules, the environment read."""
    monkeypatch.setattr(env, "_read", {})
    monkeypatch.setattr(env, "_looked_up", {})
    monkeypatch.setenv("HELIXBAND_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(interruption, "_pending", [])
    monkeypatch.setattr(sys, "path", list(sys.path))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for name, module in sys.modules.copy().items():
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
