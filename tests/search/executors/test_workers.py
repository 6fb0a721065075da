"""Which executor a search has: the GPUs that a process may use, and how they are shared out."""

import os
from argparse import Namespace

import pytest
import torch

from helixband.errors import UsageError
from helixband.search.executors.workers import check_workers, visible_gpus


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine of two GPUs, as far as it is asked."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return monkeypatch


def flags(**given: object) -> Namespace:
    return Namespace(**{"workers": None, "trials_per_gpu": None, "cluster": None, "cpu": False, **given})


def test_the_gpus_are_those_that_this_process_may_use(gpus: pytest.MonkeyPatch) -> None:
    assert visible_gpus(cpu=False) == ["0", "1"]
    assert visible_gpus(cpu=True) == []
    gpus.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-8d3c")
    assert visible_gpus(cpu=False) == ["5", "GPU-8d3c"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_without_a_gpu_there_is_none() -> None:
    assert visible_gpus(cpu=False) == []


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"workers": 2},
        {"workers": 4, "trials_per_gpu": 2},
        {"trials_per_gpu": 3},
        {"workers": 9, "cpu": True},
    ],
)
def test_workers_that_the_gpus_have_place_for_are_taken(gpus: pytest.MonkeyPatch, given: dict) -> None:
    check_workers(flags(**given))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"workers": 3}, "--workers 3 is more than 2 GPUs with 1 trials each take"),
        ({"workers": 5, "trials_per_gpu": 2}, "--workers 5 is more than 2 GPUs with 2 trials each take"),
        ({"trials_per_gpu": 2, "cpu": True}, "--trials-per-gpu needs a GPU"),
        ({"cluster": "slurm:", "trials_per_gpu": 2}, "--trials-per-gpu is for this machine"),
        ({"cluster": "ssh:"}, "ssh:"),
    ],
)
def test_others_are_refused_with_the_numbers(gpus: pytest.MonkeyPatch, given: dict, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        check_workers(flags(**given))
    assert os.environ.get("CUDA_VISIBLE_DEVICES") is None
