"""Flags that mean nothing without another one."""

import pytest
from conftest import Project


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
