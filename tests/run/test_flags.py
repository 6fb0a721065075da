"""Flags that mean nothing without another one."""

from argparse import Namespace

import pytest
import torch
from conftest import Project

from helixband.randomness import choose_algorithms
from helixband.run.flags import notes_on_algorithms


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--stride", "5"], "--stride: for predictions alone; add --predict, or leave it out"),
        (["--names", "ucsc", "--eval"], "--names: for predictions alone"),
        (["--format", "h5", "--both-strands"], "--both-strands, --format: for predictions alone"),
        (["--chromosomes", "chr1", "--epoch", "1"], "--chromosomes: for predictions alone"),
        (["--mc-dropout", "5"], "--mc-dropout: for tests and predictions alone; add --eval or --predict"),
        (
            ["--trials", "3", "--time-budget", "1h"],
            "--trials, --time-budget: for a search alone; add --hyper",
        ),
        (["--try", "a.json", "--workers", "2"], "--try, --workers: for a search alone"),
    ],
)
def test_a_flag_without_the_one_that_it_is_for_is_refused(
    project: Project, flags: list[str], told: str
) -> None:
    refused = project.run(*flags)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(f"error: {told}"), refused.err
    assert not project.results.exists()


@pytest.mark.parametrize(("given", "deterministic", "benchmark"), [(False, True, False), (True, False, True)])
def test_nondeterministic_has_cudnn_choose_by_speed(
    given: bool, deterministic: bool, benchmark: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("deterministic", "benchmark"):
        monkeypatch.setattr(torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))
    choose_algorithms(given)
    found = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    assert found == (deterministic, benchmark)


def test_nondeterministic_says_what_is_lost_and_where_it_does_nothing(project: Project) -> None:
    done = project.run("--epoch", "1", "--nondeterministic")
    assert done.code == 0
    assert "note: --nondeterministic is for a GPU, and changes nothing here" in done.out
    (told,) = notes_on_algorithms(Namespace(nondeterministic=True), "cuda")
    assert "a run that goes on is not bit for bit one without interruption" in told
    assert notes_on_algorithms(Namespace(nondeterministic=False), "cuda") == []
