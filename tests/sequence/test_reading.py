"""Names that are near, for messages about one that is not there."""

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
