"""Augmentation of batches: each proportion does its own thing to so many rows, by seed."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from helixband.errors import DataError
from helixband.sequence.alphabet import DNA, PROTEIN, RNA, Alphabet, Codes
from helixband.sequence.augmentation import Augmentation

MANY = 20_000
"""Rows, of which a share of p has a standard deviation of 0.0035 at most."""


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def augmented(*sequences: str, **options: Any) -> list[str]:
    alphabet = options.get("alphabet", DNA)
    texts: list[str] = alphabet.decode(Augmentation(**options)(alphabet.encode(list(sequences)), rng()))
    return texts


def variants(sequence: str, **options: Any) -> dict[str, float]:
    """What becomes of many rows of one sequence, and the share of each."""
    texts, counts = np.unique(augmented(*[sequence] * MANY, **options), return_counts=True)
    return {str(text): count / MANY for text, count in zip(texts, counts, strict=True)}


def about(share: float) -> Any:
    return pytest.approx(share, abs=0.015)


# What is done to a row.


def test_each_is_done_to_all_rows_where_its_proportion_is_1() -> None:
    assert augmented("AACGN", "TTTCC", reverse=1.0) == ["NGCAA", "CCTTT"]
    assert augmented("AACGN", "TTTCC", complement=1.0) == ["TTGCN", "AAAGG"]
    assert augmented("AACGN", "TTTCC", reverse_complement=1.0) == ["NCGTT", "GGAAA"]


def test_nothing_is_done_by_default() -> None:
    assert augmented("AACGN", "TTTCC") == ["AACGN", "TTTCC"]


def test_two_that_undo_each_other_leave_the_difference() -> None:
    assert augmented("AACGN", reverse=1.0, complement=1.0) == ["NCGTT"]
    assert augmented("AACGN", reverse=1.0, reverse_complement=1.0) == ["TTGCN"]
    assert augmented("AACGN", reverse=1.0, complement=1.0, reverse_complement=1.0) == ["AACGN"]


def test_another_alphabet_has_its_own_complement_and_empty_token() -> None:
    assert augmented("AACGU", reverse_complement=1.0, alphabet=RNA) == ["ACGUU"]
    assert augmented("MKV", reverse=1.0, alphabet=PROTEIN) == ["VKM"]
    assert set(augmented("MKV", "MKV", "MKV", "MKV", shift=1.0, max_shift=1, alphabet=PROTEIN)) == {
        "XMK",
        "KVX",
    }


def test_a_row_is_shifted_by_1_to_max_shift_to_either_side_and_filled_with_the_empty_token() -> None:
    sixth = about(1 / 6)
    assert variants("ACGTA", shift=1.0, max_shift=3) == {
        "TANNN": sixth,
        "GTANN": sixth,
        "CGTAN": sixth,
        "NACGT": sixth,
        "NNACG": sixth,
        "NNNAC": sixth,
    }


def test_the_strand_is_turned_before_the_shift() -> None:
    assert variants("AACG", reverse_complement=1.0, shift=1.0, max_shift=1).keys() == {"NCGT", "GTTN"}


# How many rows.


@pytest.mark.parametrize(
    ("name", "changed"), [("reverse", "TTGA"), ("complement", "TCAA"), ("reverse_complement", "AACT")]
)
def test_a_proportion_is_the_share_of_rows_that_are_changed(name: str, changed: str) -> None:
    assert variants("AGTT", **{name: 0.3}) == {"AGTT": about(0.7), changed: about(0.3)}


def test_a_proportion_is_the_share_of_rows_that_are_shifted() -> None:
    assert variants("ACGT", shift=0.4, max_shift=1) == {
        "ACGT": about(0.6),
        "CGTN": about(0.2),
        "NACG": about(0.2),
    }


def test_rows_are_changed_independently_of_what_else_is_done_to_them() -> None:
    assert variants("AGTT", reverse=0.5, complement=0.2) == {
        "AGTT": about(0.4),
        "TTGA": about(0.4),
        "TCAA": about(0.1),
        "AACT": about(0.1),
    }


# Seeds and arrays.

options = st.fixed_dictionaries(
    {
        "reverse": st.floats(0, 1),
        "complement": st.floats(0, 1),
        "reverse_complement": st.floats(0, 1),
        "shift": st.floats(0.01, 1),
        "max_shift": st.integers(1, 6),
    }
)
batches = arrays(np.uint8, st.tuples(st.integers(0, 20), st.integers(7, 30)), elements=st.integers(0, 5))


@settings(deadline=None)
@given(x=batches, options=options, seed=st.integers(0, 1000))
def test_a_row_is_one_of_its_four_forms_moved_by_max_shift_at_most(
    x: Codes, options: dict[str, Any], seed: int
) -> None:
    before = x.copy()
    result = Augmentation(**options)(x, rng(seed))
    assert result.shape == x.shape and result.dtype == np.uint8 and not np.shares_memory(result, x)
    assert (x == before).all()
    assert (result == Augmentation(**options)(x, rng(seed))).all()
    farthest = options["max_shift"]
    for row, after in zip(x, result, strict=True):
        complemented = DNA.reverse_complement(row)[::-1]
        forms = [
            np.pad(f, farthest, constant_values=4) for f in (row, row[::-1], complemented, complemented[::-1])
        ]
        places = range(2 * farthest + 1)
        assert any((form[place : place + len(row)] == after).all() for form in forms for place in places)


def test_turning_one_on_does_not_move_what_another_does() -> None:
    x = rng().integers(0, 4, (200, 50), dtype=np.uint8)
    plain = Augmentation(reverse=0.5)(x, rng(1))
    shifted = Augmentation(reverse=0.5, shift=0.5, max_shift=5)(x, rng(1))
    same = (plain == shifted).all(axis=1)
    assert 60 < same.sum() < 140
    assert ((shifted == 4).any(axis=1) == ~same).all()


def test_another_seed_gives_another_batch() -> None:
    x = rng().integers(0, 4, (20, 50), dtype=np.uint8)
    augment = Augmentation(reverse=0.5)
    assert (augment(x, rng(1)) != augment(x, rng(2))).any()


def test_an_empty_batch_stays_one() -> None:
    augment = Augmentation(reverse=0.5, complement=0.5, shift=0.5, max_shift=2)
    assert augment(np.empty((0, 5), np.uint8), rng()).shape == (0, 5)


# What is refused.


@pytest.mark.parametrize("name", ["reverse", "complement", "reverse_complement", "shift"])
@pytest.mark.parametrize("proportion", [-0.1, 1.1, 50, float("nan"), "0.5", None])
def test_what_is_no_proportion_is_refused(name: str, proportion: Any) -> None:
    with pytest.raises(
        DataError, match=f"^{name} is {proportion!r}; it has to be a proportion of the rows, 0 to 1"
    ):
        Augmentation(**{name: proportion})


@pytest.mark.parametrize("name", ["complement", "reverse_complement"])
def test_a_complement_that_the_alphabet_does_not_have_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="has no complement"):
        Augmentation(**{name: 0.5}, alphabet=PROTEIN)


@pytest.mark.parametrize(
    ("shift", "max_shift"), [(0.5, 0), (0.0, 3), (0.5, -1), (0.5, 1.5), (0.5, "2"), (0.0, -1)]
)
def test_a_shift_needs_a_proportion_and_a_distance(shift: float, max_shift: Any) -> None:
    with pytest.raises(DataError, match=f"^shift is {shift!r} and max_shift {max_shift!r}; to shift, give"):
        Augmentation(shift=shift, max_shift=max_shift)


def test_a_shift_needs_an_empty_token() -> None:
    with pytest.raises(DataError, match="has no empty token"):
        Augmentation(shift=0.5, max_shift=1, alphabet=Alphabet("01"))
    assert augmented("01", reverse=1.0, alphabet=Alphabet("01")) == ["10"]


def test_rows_that_a_shift_could_empty_are_refused() -> None:
    augment = Augmentation(shift=0.5, max_shift=5)
    assert augment(np.zeros((3, 6), np.uint8), rng()).shape == (3, 6)
    with pytest.raises(DataError, match="max_shift 5 can leave nothing of rows of length 5"):
        augment(np.zeros((3, 5), np.uint8), rng())


@pytest.mark.parametrize("x", [np.zeros((2, 4)), np.zeros((2, 4), np.int64), np.zeros(4, np.uint8)])
def test_what_is_no_batch_of_indexes_is_refused(x: Any) -> None:
    with pytest.raises(DataError, match=r"it has to be \(N, L\) and uint8"):
        Augmentation(reverse=1.0)(x, rng())


def test_an_augmentation_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Augmentation().reverse = 0.5  # type: ignore[misc]
