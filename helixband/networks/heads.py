"""Networks of two parts: features of a sequence, and what is said of it from them."""

import torch
from torch import Tensor, nn


class ConvRegressionNetwork(nn.Module):
    """`regressor` on the flattened `features`.

    x: what `features` takes, for example (N, 4, L). The output is (N, outputs), or (N,) of one output.
    """

    def __init__(self, features: nn.Module, regressor: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.regressor = regressor

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.regressor(self.features(x).flatten(1))
        return output.squeeze(1) if output.ndim == 2 and output.shape[1] == 1 else output


class ConvClassificationNetwork(nn.Module):
    """`classifier` on the flattened `features`, giving logits.

    x: what `features` takes, for example (N, 4, L). `classifier` gives (N, C) logits, or (N, 1) for two
    classes. The output is `y_pred_loss`, those logits, and `y_pred`, their probabilities as in
    `class_probabilities`.
    """

    def __init__(self, features: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        logits = self.classifier(self.features(x).flatten(1))
        return {"y_pred": class_probabilities(logits), "y_pred_loss": logits}


def class_probabilities(logits: Tensor) -> Tensor:
    """P(class 1), (N,), of two classes from one or two logits; (N, C) of more.

    >>> class_probabilities(torch.tensor([[0.0, 0.0], [-100.0, 100.0]]))
    tensor([0.5000, 1.0000])
    """
    if logits.ndim == 1 or logits.shape[1] == 1:
        return torch.sigmoid(logits.reshape(-1))
    probabilities = torch.softmax(logits, dim=1)
    return probabilities[:, 1] if logits.shape[1] == 2 else probabilities
