"""How criteria are called, and labels in the form that they take."""

import functools
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helixband.errors import DefinitionError
from helixband.training.losses import cross_entropy, match_labels, parameter_names

ONE_LOGIT = torch.tensor([0.0, 2.0, -1.0])
TWO_LOGITS = torch.stack([torch.zeros(3), ONE_LOGIT], dim=1)
LABELS = torch.tensor([0, 1, 1])
LOSS = F.binary_cross_entropy_with_logits(ONE_LOGIT, LABELS.float()).item()


@pytest.mark.parametrize("logits", [ONE_LOGIT, ONE_LOGIT[:, None], TWO_LOGITS], ids=["N", "N,1", "N,2"])
@pytest.mark.parametrize(
    "y",
    [LABELS, LABELS[:, None], LABELS.float(), LABELS.to(torch.uint8), LABELS.bool(), F.one_hot(LABELS)],
    ids=["N", "N,1", "float", "uint8", "bool", "one-hot"],
)
def test_labels_and_logits_of_two_classes_mean_the_same_in_every_form(
    logits: torch.Tensor, y: torch.Tensor
) -> None:
    assert cross_entropy(logits, match_labels(y, logits)).item() == pytest.approx(LOSS)


@pytest.mark.parametrize("y", [[2, 0], [[2], [0]], [2.0, 0.0], [[0, 0, 1], [1, 0, 0]]])
def test_labels_of_more_classes_mean_the_same_in_every_form(y: Any) -> None:
    logits = torch.tensor([[0.1, 0.2, 0.7], [1.0, 0.0, -1.0]])
    expected = nn.CrossEntropyLoss()(logits, torch.tensor([2, 0])).item()
    assert cross_entropy(logits, match_labels(torch.tensor(y), logits)).item() == pytest.approx(expected)


def test_soft_labels_stay_soft() -> None:
    assert match_labels(torch.tensor([0.1, 0.9]), torch.zeros(2)).tolist() == pytest.approx([0.1, 0.9])
    of_one_logit = match_labels(torch.tensor([[0.75, 0.25], [0.5, 0.5]]), torch.zeros(2, 1))
    assert of_one_logit.tolist() == [[0.25], [0.5]]
    soft = torch.tensor([[0.2, 0.3, 0.5]])
    assert match_labels(soft, torch.zeros(1, 3)).equal(soft)


@pytest.mark.parametrize(("columns", "logits"), [(3, (2,)), (3, (2, 1)), (3, (2, 2)), (2, (2, 3))])
def test_labels_of_other_classes_than_the_logits_are_refused(columns: int, logits: tuple[int, ...]) -> None:
    with pytest.raises(DefinitionError, match=rf"y has the shape \(2, {columns}\) and the logits \(2,"):
        match_labels(torch.zeros(2, columns), torch.zeros(logits))


def by_name(y_pred_logits: Any, y_true: Any, weight: float = 1.0) -> None: ...


class Loss:
    def __call__(self, y_true_index: Any, y_pred: Any) -> None: ...


@pytest.mark.parametrize(
    ("criterion", "names"),
    [
        (by_name, ("y_true", "y_pred_logits")),
        (functools.partial(by_name, weight=2.0), ("y_true", "y_pred_logits")),
        (Loss(), ("y_true_index", "y_pred")),
        (lambda input, target: None, None),
        (lambda y_pred, target: None, None),
        (F.mse_loss, None),
        (nn.MSELoss(), None),
        (torch.dot, None),
    ],
)
def test_a_function_is_called_by_name_where_its_parameters_have_the_names(criterion: Any, names: Any) -> None:
    assert parameter_names(criterion) == names
