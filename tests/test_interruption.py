"""Signals end a run at once, wherever they strike, and strike this process alone."""

import multiprocessing
import os
import signal
import time

import pytest
from conftest import Project

from helixband import interruption


def test_a_signal_that_was_caught_and_forgotten_is_raised_at_the_next_check() -> None:
    interruption.install()
    interruption.check()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    with pytest.raises(KeyboardInterrupt) as caught:
        interruption.check()
    assert caught.value.args == (signal.SIGINT,)
    interruption.install()
    interruption.check()


def test_a_run_ends_on_a_signal_that_the_definition_swallowed(project: Project) -> None:
    project.define("""
import os, signal, time

class Model(Model):
    def train_metrics(self, y_true, y_pred):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        except KeyboardInterrupt:
            pass
        return {}
""")
    stopped = project.run("--epoch", "50", "--batch-size", "20")
    assert (stopped.code, stopped.err) == (130, "stopped by Ctrl-C; the same command goes on from here\n")


def sleep() -> None:
    time.sleep(30)


def test_a_forked_child_dies_of_sigterm_as_any_process() -> None:
    interruption.install()
    child = multiprocessing.get_context("fork").Process(target=sleep)
    child.start()
    time.sleep(0.2)
    child.terminate()
    child.join(60)
    assert child.exitcode == -signal.SIGTERM


def square(number: int) -> int:
    return number**2


def test_a_pool_that_ends_as_its_children_begin_is_no_hang() -> None:
    interruption.install()
    for _ in range(100):
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(square, [1, 2]) == [1, 4]
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_fork_keeps_what_a_definition_does_on_sigterm() -> None:
    interruption.install()
    before = signal.signal(signal.SIGTERM, lambda number, frame: os._exit(7))
    try:
        child = multiprocessing.get_context("fork").Process(target=sleep)
        child.start()
        time.sleep(0.2)
        child.terminate()
        child.join(60)
        assert child.exitcode == 7
    finally:
        signal.signal(signal.SIGTERM, before)


def test_ctrl_c_ends_a_run_whose_data_come_from_workers(project: Project) -> None:
    project.define("""
from torch.utils.data import DataLoader, TensorDataset

def get_train_generator(data_dir, batch_size):
    x, y = table(0, 60)
    dataset = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    return DataLoader(dataset, batch_size, shuffle=True, num_workers=2)
""")
    process = project.start("--epoch", "500", "--batch-size", "20")
    assert process.stdout is not None
    while "epoch 2/500" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_a_run_that_was_stopped_stops_no_later_one_in_its_process(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("helixband.run.experiment.run", interrupted)
    assert project.run().code == 130
    interruption.check()


def test_a_second_sigterm_does_not_disturb_what_the_first_began() -> None:
    interruption.install()
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # as schedulers send several
        assert interruption.asked()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)  # a person who has waited enough
    finally:
        interruption.forget()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
