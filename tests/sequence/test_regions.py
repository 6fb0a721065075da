"""Regions of the records of files, and records that are one place under two names."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helixband.sequence.alphabet import DNA
from helixband.sequence.regions import regions_in
from helixband.sequence.store import SequenceStore

GENOME = {name: np.random.default_rng(seed).integers(0, 4, 1000) for seed, name in enumerate(["I", "II"])}
PLACES = [(name, start) for name in GENOME for start in range(0, 900, 50)]
"""Windows of 100 bases, which overlap by half."""


def opened(tmp_path: Path, header: Callable[[int, str, int], str]) -> SequenceStore:
    """The windows, those of odd number from the other strand."""
    lines = []
    for number, (name, start) in enumerate(PLACES):
        codes = GENOME[name][start : start + 100].astype(np.uint8)
        codes = DNA.reverse_complement(codes) if number % 2 else codes
        lines += [f">{header(number, name, start)}", DNA.decode(codes)]
    (tmp_path / "a.fa").write_text("\n".join(lines))
    return SequenceStore.open(tmp_path / "a.fa")


def strand(number: int) -> str:
    return "+-"[number % 2]


def test_regions_are_read(tmp_path: Path) -> None:
    store = opened(tmp_path, lambda number, name, start: f"{name}:{start}-{start + 100}({strand(number)})")
    regions, why = regions_in(store)
    assert why == "" and regions is not None
    assert [(regions.names[c], s) for c, s in zip(regions.chromosome, regions.start, strict=True)] == PLACES


@pytest.mark.parametrize(
    "label",
    [
        lambda number: f"p{number}_",  # each record has one of its own
        lambda number: f"sample{number % 3}_",
        lambda number: f"peak{number // 2 * 2}:",
    ],
)
def test_a_label_that_gives_one_place_two_names_is_told(tmp_path: Path, label: Callable[[int], str]) -> None:
    store = opened(
        tmp_path,
        lambda number, name, start: f"{label(number)}{name}:{start}-{start + 100}({strand(number)})",
    )
    regions, why = regions_in(store)
    assert regions is None
    assert "have the same bases at the same positions, but chromosomes of two names" in why


@pytest.mark.parametrize(
    "strand_in", ["{}_{}:{}-{}", "{1}{0}:{2}-{3}", "{}{}_{}_{}", "{}|{}|{}|{}", "{}.{}.{}.{}"]
)
def test_a_strand_in_the_chromosome_makes_no_second_one(tmp_path: Path, strand_in: str) -> None:
    store = opened(
        tmp_path, lambda number, name, start: strand_in.format(name, strand(number), start, start + 100)
    )
    regions, why = regions_in(store)
    assert why == "" and regions is not None and regions.names == ("I", "II")
    assert regions.strand.tolist() == [1, -1] * (len(PLACES) // 2)


def test_two_names_for_the_strands_of_one_place_are_told_if_no_strand_is_known(tmp_path: Path) -> None:
    store = opened(tmp_path, lambda number, name, start: f"{name}_{'FR'[number % 2]}:{start}-{start + 100}")
    regions, why = regions_in(store)
    assert regions is None
    assert why == (
        "'II_F:0-100' and 'II_R:50-150' have the same bases at the same positions, but chromosomes of two "
        "names; end the text before a chromosome in '::', and write the strand behind the region, as in (+)"
    )


def test_scaffolds_with_repeats_at_the_same_positions_are_no_one_place(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = []
    for number in range(20):
        lines += [f">scaffold_{number}:0-100", "TTAGGG" * 10 + "".join(rng.choice(list("ACGT"), 40))]
    (tmp_path / "a.fa").write_text("\n".join(lines))
    regions, why = regions_in(SequenceStore.open(tmp_path / "a.fa"))
    assert regions is not None and len(regions.names) == 20 and why == ""
