"""Denoising autoencoder: a sequence with tokens changed goes in, and the whole sequence is to come out."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from base_model import Number
from helixband import metrics
from helixband.metrics.tokens import MISSING
from helixband.tasks.corruption import Corruption
from helixband.tasks.restoring import RestoringModel


class DenoisingAutoencoder(RestoringModel):
    """Reconstructs sequences from ones with tokens changed (Vincent et al. 2008); the reward is −val_loss.

    Of the tokens a tenth is masked, and a tenth replaced by another one, unless `init_model` says otherwise:
    `super().init_model(network, optimizer, corruption=Corruption(random=0.2))`. With
    `corrupts_evaluation=False` validation and test give the network sequences as they are. The loss is the
    mean cross-entropy over all tokens but control tokens (the empty one, padding). With
    `helixband.losses.NeighbourLoss` as the criterion, errors that lie together weigh more. See
    `RestoringModel` for the shapes.
    """

    corruption = Corruption(mask=0.1, random=0.1)

    def init_model(self, *parts: Any, corrupts_evaluation: bool | None = None, **others: Any) -> None:
        """As that of `RestoringModel`; `corrupts_evaluation` takes the place of the class's attribute."""
        if corrupts_evaluation is not None:
            self.corrupts_evaluation = corrupts_evaluation
        super().init_model(*parts, **others)

    def is_target(self, tokens: Tensor, kind: Tensor) -> Tensor:
        return tokens < self.corruption.alphabet.n_tokens

    def eval_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, Number]:
        """Those of `RestoringModel`, and `accuracy_unchanged`, of the tokens that were not chosen."""
        is_unchanged = (y_true["token"] != MISSING) & (y_true["kind"] == 0)
        unchanged = y_true["token"].astype(int)
        unchanged[~is_unchanged] = MISSING
        found = metrics.accuracy(*metrics.at_known(unchanged, y_pred))
        return {**super().eval_metrics(y_true, y_pred), "accuracy_unchanged": found}
