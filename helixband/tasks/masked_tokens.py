"""Masked-token pretraining: tokens of a sequence are hidden, and the network says what they were."""

from typing import Any

from torch import Tensor

from helixband.errors import DefinitionError
from helixband.tasks.corruption import Corruption
from helixband.tasks.restoring import RestoringModel


class MaskedTokenModel(RestoringModel):
    """Masked-token pretraining, as BERT's (Devlin et al. 2019); the reward is −val_loss.

    Of the tokens 12 % are masked, 1.5 % replaced by another one and 1.5 % kept, unless `init_model` says
    otherwise: `super().init_model(network, optimizer, corruption=Corruption(mask=0.15, alphabet=PROTEIN))`.
    The loss is the mean cross-entropy over these chosen positions alone. Of a set it is that of all chosen
    positions at once. The gradients of a batch in which none is chosen are 0. See `RestoringModel` for the
    shapes.
    """

    corruption = Corruption(mask=0.12, random=0.015, keep=0.015)

    def init_model(self, *parts: Any, corruption: Corruption | None = None, **others: Any) -> None:
        """As that of `RestoringModel`; raises `DefinitionError` for a corruption that chooses nothing."""
        super().init_model(*parts, corruption=corruption, **others)
        chosen = self.corruption.mask + self.corruption.random + self.corruption.keep
        if not chosen or not self.corrupts_evaluation:
            where = "" if not chosen else " in evaluation (corrupts_evaluation)"
            raise DefinitionError(
                f"{type(self).__name__} chooses no token{where}, so there is nothing to restore: give its "
                "Corruption mask, random or keep, and leave corrupts_evaluation True"
            )

    def is_target(self, tokens: Tensor, kind: Tensor) -> Tensor:
        return kind != 0
