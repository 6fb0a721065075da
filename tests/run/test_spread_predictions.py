"""Predictions on windows by several workers: the bytes of one process, whatever becomes of a worker."""

import importlib.util
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Project, Run
from test_split_predictions import OF_WINDOWS, split

from helixband.errors import HelixbandError
from helixband.outputs import windows
from helixband.search.executors.chunks import SpreadOver, write_arrays
from helixband.search.executors.local import WorkerDied
from helixband.search.executors.task import Chunk, Outcome, Task

__all__ = ["split"]

IN_WORKERS = """
import os, signal, sys

class Model(Model):
    def predict(self, x):
        if "helixband.search.executors.worker" in sys.orig_argv:
            WORDS
        return super().predict(x)
"""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "CHUNK_BASES", 700)  # 35 windows: six chunks
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as the number of threads sets the last bits


def in_workers(project: Project, words: str) -> None:
    """Have the workers do something before each prediction."""
    project.definition.write_text(OF_WINDOWS + IN_WORKERS.replace("WORDS", words))


def predict(project: Project, name: str, *flags: str) -> Run:
    result = str(project.path / name)
    return project.run("--epoch", "1", "--batch-size", "16", "--predict", "g.fa", "--result", result, *flags)


def outputs(project: Project, name: str) -> dict[str, bytes]:
    folder = project.path / name / "predictions"
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(".json")}


def test_two_workers_write_the_bytes_of_one_process(split: Project) -> None:
    tracks = ["bw"] if importlib.util.find_spec("pybigtools") else []
    flags = ["--mc-dropout", "2", "--chromosomes", "small2,chr2", "--format", "npy", "tsv", "h5", *tracks]
    alone = predict(split, "alone", *flags)
    spread = predict(split, "spread", "--workers", "2", *flags)
    assert (alone.code, spread.code) == (0, 0), spread.err
    assert "2 chunks of windows at a time" in spread.out and "chunks of windows" not in alone.out
    assert len(outputs(split, "spread")) >= 3 and outputs(split, "spread") == outputs(split, "alone")


COUNTS = """
class Model(Model):
    def init_model(self):
        super().init_model()
        self.network.register_buffer("calls", torch.zeros(()))
    def forward(self, x):
        self.network.calls += 1
        found = super().forward(x)
        return {**found, "y_pred": found["y_pred"] + self.network.calls}
"""
WHY_IN_ORDER = "its prediction changes what the model or the definition holds"


def test_a_model_that_counts_as_it_predicts_does_so_in_one_process(split: Project) -> None:
    split.definition.write_text(OF_WINDOWS + COUNTS)
    alone, spread = predict(split, "alone"), predict(split, "spread", "--workers", "2")
    assert (alone.code, spread.code) == (0, 0), alone.err + spread.err
    assert f"predict: in this process alone: {WHY_IN_ORDER}" in spread.out
    assert "chunks of windows at a time" not in spread.out
    assert outputs(split, "spread") == outputs(split, "alone")


@pytest.mark.parametrize("flags", [(), ("--workers", "2")])
def test_a_stopped_prediction_of_a_model_that_counts_is_begun_anew(
    split: Project, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    split.definition.write_text(OF_WINDOWS + COUNTS)
    assert predict(split, "alone").code == 0
    done = stopped_after(2, monkeypatch)
    assert predict(split, "stopped").code == 130
    run = predict(split, "stopped", *flags)
    assert run.code == 0, run.err
    assert f"g.fa is begun anew: {WHY_IN_ORDER}" in run.out
    assert done[:3] == [35, 70, 35]
    assert outputs(split, "stopped") == outputs(split, "alone")


def stopped_after(chunks: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have a prediction interrupted after so many chunks; the rows that are done after each."""
    append, done = windows.Parts.append, []

    def stopping(self: windows.Parts, *chunk: Any) -> None:
        append(self, *chunk)
        done.append(self.done)
        if len(done) == chunks:
            raise KeyboardInterrupt

    monkeypatch.setattr(windows.Parts, "append", stopping)
    return done


def test_a_prediction_that_was_stopped_goes_on_in_workers_of_which_one_is_killed(
    split: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = "flag = os.path.join(self.args.data, 'killed')\n"
    once += "            if not os.path.exists(flag):\n                open(flag, 'w').close()\n"
    once += "                os.kill(os.getpid(), signal.SIGKILL)"
    in_workers(split, once)
    assert predict(split, "alone", "--both-strands").code == 0
    done = stopped_after(2, monkeypatch)
    assert predict(split, "spread", "--both-strands").code == 130
    run = predict(split, "spread", "--both-strands", "--workers", "2")
    assert run.code == 0, run.err
    assert done[:3] == [35, 70, 105]
    assert (split.data / "killed").exists() and "was ended by SIGKILL" in run.out
    assert outputs(split, "spread") == outputs(split, "alone")


def test_workers_of_a_dask_cluster_write_the_bytes_of_one_process(split: Project) -> None:
    distributed = pytest.importorskip("distributed")
    assert predict(split, "alone").code == 0
    with distributed.LocalCluster(2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        spread = predict(split, "spread", "--cluster", cluster.scheduler_address)
    assert spread.code == 0, spread.err
    assert "connecting to tcp://" in spread.out
    assert outputs(split, "spread") == outputs(split, "alone")


class Dying:
    """Workers that die at each chunk so many times, and then write the numbers of its windows."""

    capacity = 2

    def __init__(self, deaths: int) -> None:
        self.deaths: int = deaths
        self.given: list[int] = []

    def submit(self, task: Task, on_epoch: Any) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        assert task.chunk is not None
        self.given.append(task.chunk.first)
        if self.given.count(task.chunk.first) <= self.deaths:
            future.set_exception(WorkerDied("it ended"))
        else:
            arrays = {"": np.arange(task.chunk.first, task.chunk.last), ".a.npy": np.zeros((2, 1), "f2")}
            write_arrays(Path(task.chunk.target), arrays)
            future.set_result(Outcome(0.0, 0))
        return future

    def close(self) -> None:
        pass


def spread_over(workers: Dying, folder: Path) -> tuple[SpreadOver, list[str]]:
    said: list[str] = []
    return SpreadOver(workers, Task("0000", {}, 0, chunk=Chunk("g.fa", {})), folder, said.append), said


def test_chunks_come_in_order_each_given_again_where_its_worker_dies(tmp_path: Path) -> None:
    (tmp_path / "chunks-of-a-run-that-was-killed").mkdir()
    spread, said = spread_over(Dying(2), tmp_path)
    spans = [(first, first + 2) for first in range(10, 40, 2)]
    found = list(spread(spans))
    assert [each[""].tolist() for each in found] == [[first, first + 1] for first in range(10, 40, 2)]
    assert [each[".a.npy"].dtype for each in found] == ["f2"] * 15
    assert said[0] == (
        "  the worker of the windows 10 to 12 of g.fa was lost (it ended); they are predicted again"
    )
    assert len(said) == 30 and not any(tmp_path.iterdir())


def test_a_chunk_at_which_workers_die_each_time_ends_the_run(tmp_path: Path) -> None:
    spread, _ = spread_over(workers := Dying(3), tmp_path)
    with pytest.raises(HelixbandError, match="died 3 times at the windows 5 to 7 of g.fa, at last: it ended"):
        next(spread([(5, 7)]))
    assert workers.given == [5, 5, 5]


def test_an_error_of_the_definition_in_a_worker_is_told_with_its_place(split: Project) -> None:
    in_workers(split, "raise ValueError('no such thing')")
    run = predict(split, "results", "--workers", "2")
    assert run.code == 1
    assert str(split.definition) in run.err and "no such thing" in run.err


def test_input_without_windows_and_a_single_chunk_start_no_worker(
    split: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "CHUNK_BASES", 1 << 20)
    run = predict(split, "results", "--workers", "2")
    assert run.code == 0 and "chunks of windows" not in run.out


def test_workers_are_refused_where_nothing_is_for_them(split: Project) -> None:
    run = split.run("--epoch", "1", "--workers", "2")
    assert run.code == 2
    assert "--workers: for searches, tests and predictions alone; add --hyper, --eval or --predict" in run.err
