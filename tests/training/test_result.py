"""Results: numbers by name, and names that they do not have."""

import pytest

from helixband.training.result import Result

RESULT = Result(val_loss=0.5, val_mse=0.25)


def test_a_number_is_read_in_three_ways() -> None:
    assert RESULT["val_mse"] == RESULT.val_mse == RESULT.loc["val_mse"] == 0.25


def test_a_name_that_is_missing_is_told_with_those_that_are_there() -> None:
    message = "^'val_auroc' is not in the result; it has val_loss, val_mse$"
    with pytest.raises(KeyError, match=message):
        RESULT.loc["val_auroc"]
    with pytest.raises(AttributeError, match=message):
        _ = RESULT.val_auroc
    assert not hasattr(RESULT, "val_auroc") and RESULT.get("val_auroc") is None
