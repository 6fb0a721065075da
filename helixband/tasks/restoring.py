"""What models that restore tokens have in common: x is changed, and the target is what was there."""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from base_model import BaseModel, Number
from helixband import metrics
from helixband.errors import DataError, DefinitionError, in_one_line
from helixband.metrics.tokens import MISSING
from helixband.randomness import derive_seed
from helixband.tasks.corruption import KINDS, Corruption
from helixband.tasks.positions import check_logits
from helixband.training.pictures import POSITIONS, Picture

SHADES = np.array([0.0, 0.6, 0.4, 0.2])
"""In pictures, of the kinds of positions, as `KINDS` numbers them."""
MOST_TOKENS = 20
"""Accuracies are reported token by token in an alphabet of up to so many."""


class RestoringModel(BaseModel):
    """Learns to restore tokens that are changed at random; it needs no labels.

    The generators give x alone, or (x, y), of which y is not used. x is indexes (N, S), or {"x": indexes, …}.
    The network gets the changed x, of the same shape and dtype, and gives logits (N, V, S), of the alphabet's
    tokens in their order; V may be larger. y is {"token": int16 (N, S), −100 where the token is no target,
    "kind": uint8 (N, S), as in `KINDS`}. y_pred is the probabilities, (N, V, S). A prediction is of x as it
    is.

    Which tokens are changed depends on the seed, the epoch and the batch alone: it is the same in all
    processes of a training, after an interruption, and in each pass of a validation.
    """

    default_criterion = nn.CrossEntropyLoss()
    corruption = Corruption()
    corrupts_evaluation = True
    """Whether x is changed in validation and test too, as in training."""

    def init_model(self, *parts: Any, corruption: Corruption | None = None, **others: Any) -> None:
        """As `BaseModel.init_model`: (network, optimizer), or (network, criterion, optimizer).

        The criterion gets logits (N, V, S) and indexes (N, S), −100 where there is no target. Raises
        `DefinitionError` for what is no `Corruption`, and for `corrupts_evaluation` that is no bool.
        """
        if corruption is not None:
            self.corruption = corruption
        if not isinstance(self.corruption, Corruption):
            raise DefinitionError(
                f"corruption of {type(self).__name__} is {in_one_line(self.corruption)}; it has to be a "
                "Corruption, such as Corruption(mask=0.1)"
            )
        if type(self.corrupts_evaluation) is not bool:
            raise DefinitionError(
                f"corrupts_evaluation of {type(self).__name__} is {in_one_line(self.corrupts_evaluation)}; "
                "it has to be True or False"
            )
        super().init_model(*parts, **others)

    def split_batch(self, batch: Any) -> tuple[Any, Any]:
        """(x with tokens changed, y) of a batch x or (x, y), on the host."""
        x = batch[0] if isinstance(batch, tuple | list) else batch
        if isinstance(x, dict) and "x" not in x:
            raise DataError(f"x is a dict of {', '.join(map(str, x))}; its indexes have to be under 'x'")
        tokens = self.corruption.check(x["x"] if isinstance(x, dict) else x)
        changed, kind = tokens, torch.zeros_like(tokens, dtype=torch.uint8)
        if self.engine.trains or self.corrupts_evaluation:
            mark = zlib.crc32(tokens.contiguous().numpy().data)
            changed, kind = self.corruption(
                tokens, derive_seed(self.args.seed, "corruption", self.epoch, mark)
            )
        y = {"token": tokens.to(torch.int16).where(self.is_target(tokens, kind), MISSING), "kind": kind}
        return ({**x, "x": changed} if isinstance(x, dict) else changed), y

    def is_target(self, tokens: Tensor, kind: Tensor) -> Tensor:
        """Which tokens are to be restored, bool (N, S); both (N, S)."""
        raise NotImplementedError

    def split_output(self, output: Any) -> dict[str, Any]:
        """A plain tensor is the logits; metrics and predictions get probabilities."""
        if isinstance(output, Tensor):
            return {"y_pred": output.softmax(1) if output.ndim > 1 else output, "y_pred_loss": output}
        return super().split_output(output)

    def compute_loss(self, y_pred_loss: Any, y: Any) -> Any:
        """The criterion's loss over the targets; raises `DefinitionError` for logits of another shape."""
        check_logits(y_pred_loss, y["token"], self.corruption.alphabet.n_tokens)
        return super().compute_loss(y_pred_loss, y["token"].long())

    def pictures(self, x: Any, y_true: Any, y_pred: Any) -> Mapping[str, Picture]:
        """Of each example, the first 100 positions: what was given, what the network made of it, the truth.

        What was given is the darker, the more it was changed: masked, replaced, kept though chosen. What the
        network says of a target is as dark as it is sure, and of the other colour where it is wrong.
        """
        given = (x["x"] if isinstance(x, dict) else x)[:, :POSITIONS].cpu().numpy().astype(int)
        said, sure = y_pred[..., :POSITIONS].argmax(1), y_pred[..., :POSITIONS].max(1)
        true, kind = y_true["token"][:, :POSITIONS].astype(int), y_true["kind"][:, :POSITIONS]
        letters = np.array(self._letters(y_pred.shape[1]))
        found, is_target = {}, true != MISSING
        for row in range(len(given)):
            right = np.where(said[row] == true[row], sure[row], -sure[row])
            values = [SHADES[kind[row]], np.where(is_target[row], right, np.nan), np.zeros(len(true[row]))]
            texts = [
                letters[given[row]],
                letters[said[row]],
                np.where(is_target[row], letters[true[row]], ""),
            ]
            found[f"example {row + 1}"] = Picture(values, texts, ["given", "restored", "true"])
        return found

    def _letters(self, classes: int) -> list[str]:
        """What is written for each index: a token, "_" for the mask, "·" for what is none."""
        alphabet = self.corruption.alphabet
        letters = [*alphabet.tokens, *"·" * max(256, classes)]
        if alphabet.mask is not None:
            letters[alphabet.mask] = "_"
        return letters

    def other_strand(self, y_pred: Any, turned: Callable[[Any], Any]) -> Any:
        """Positions are turned, and each token has the probability of its complement.

        Raises `DataError` where the alphabet of the corruption has no complement.
        """
        alphabet, y_pred = self.corruption.alphabet, turned(y_pred)
        if alphabet.complement is None:
            raise DataError(f"{alphabet}, of the Corruption, has no complement, so there is no other strand")
        return y_pred[:, alphabet.complement[: y_pred.shape[1]]]

    def train_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, Number]:
        return {"accuracy": metrics.accuracy(*metrics.at_known(y_true["token"], y_pred))}

    def eval_metrics(self, y_true: Any, y_pred: Any) -> Mapping[str, Number]:
        """`accuracy` and `perplexity` over the targets, `accuracy_<kind>` and `accuracy_<token>`.

        Kinds are those of the corruption that have a share, and tokens those of an alphabet of up to 20.
        """
        true, pred = metrics.at_known(y_true["token"], y_pred)
        kind = y_true["kind"][y_true["token"] != MISSING]
        found = {"accuracy": metrics.accuracy(true, pred), "perplexity": metrics.perplexity(true, pred)}
        for name, number in KINDS.items() if self.corrupts_evaluation else ():
            if getattr(self.corruption, name):
                found[f"accuracy_{name}"] = metrics.accuracy(true[kind == number], pred[kind == number])
        if self.corruption.alphabet.n_tokens <= MOST_TOKENS:
            for token, text in enumerate(self.corruption.alphabet.tokens):
                found[f"accuracy_{text}"] = metrics.accuracy(true[true == token], pred[true == token])
        return found
