"""Names that are near, for messages about one that is not there."""

import time

import pytest

from helixband.sequence.reading import near_names


@pytest.mark.parametrize(
    ("name", "names", "near"),
    [
        ("chr01", ["chrX", "chr1", "chrM"], ["chr1", "chrX", "chrM"]),
        ("scaffold", ["1", "2", "3", "4"], ["1", "2", "3"]),
        ("x", [], []),
    ],
)
def test_near_names_are_those_alike_or_the_first(name: str, names: list[str], near: list[str]) -> None:
    assert near_names(name, names) == near


def test_of_many_names_those_that_begin_alike_are_compared() -> None:
    names = [f"scaffold_{number}_len20" for number in range(100_000)]
    assert "scaffold_77777_len20" in near_names("scaffold_77777_len21", names)
    assert near_names("x", names) == names[:3]


def test_of_a_million_names_the_near_one_is_found_in_under_a_second() -> None:
    names = [f"scaffold_{number}_len20_cov_{number % 97}" for number in range(1_000_000)]
    started = time.process_time()
    assert near_names("scaffold_300007_len21", names)[0] == "scaffold_300007_len20_cov_83"
    assert near_names("chr1", names) == names[:3]
    assert time.process_time() - started < 1


def test_a_name_that_is_no_name_is_not_compared_letter_by_letter() -> None:
    started = time.process_time()
    near = near_names("ACGT" * 50_000, ["ACGT" * 50_000 + "A", "chr1"])
    assert near == ["ACGT" * 20 + "…", "chr1"]
    assert time.process_time() - started < 1
