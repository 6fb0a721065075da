"""Pictures of some examples: what a model makes of the first ones of a set, and what is drawn of them."""

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from helixband.errors import DefinitionError, in_one_line
from helixband.generators.arrays import to_numpy
from helixband.nested import map_leaves
from helixband.networks.transformer import TransformerEncoder
from helixband.results.pictures import Picture as Picture
from helixband.results.pictures import checked
from helixband.results.scored import reason_to_leave_out
from helixband.training import curves, judge
from helixband.training.feed import labelled, to_device
from helixband.training.weighting import split_of

EXAMPLES = 4
"""The first so many examples of a set are pictured."""
POSITIONS = 100
"""Of each, the first so many positions."""


@torch.no_grad()
def of_set(model: Any, generator: Iterable[Any]) -> dict[str, Picture]:
    """What the model's `pictures` makes of the first examples of a set; {} where it has none.

    Raises `DefinitionError` where that is no dict of pictures.
    """
    if not model.engine.has_pictures:
        return {}
    for x, y, *_ in itertools.islice(labelled(generator, 1, split_of(model)), 1):
        return of_batch(model, x, y)
    return {}


@torch.no_grad()
def of_batch(model: Any, x: Any, y: Any) -> dict[str, Picture]:
    """As `of_set`, of the first examples of a batch."""
    x, y = map_leaves(lambda leaf: leaf[:EXAMPLES], (x, y))
    on_device = to_device(x, model.device)
    y_pred = to_numpy(judge.prediction(model, on_device))
    return checked(model.pictures(on_device, to_numpy(y), y_pred))


def of_outcomes(model: Any, generator: Iterable[Any], kind: str) -> dict[str, Picture]:
    """Confusion and curves of a whole set, of a model that has classes or labels; {} of another.

    `kind` is that of its labels, "classes", "labels" or "numbers", or "" where their values decide. A set
    that is too large for the report has none either.
    """
    has_columns = hasattr(model, "class_names") or hasattr(model, "label_names")
    if kind == "numbers" or not has_columns:
        return {}
    _, y_true, y_pred = judge.outputs(model, generator, split_of(model), alone=True)
    if reason_to_leave_out(y_true, y_pred):
        return {}
    return curves.of_outcomes(y_true, y_pred, judge.names_of(model, y_pred), kind)


@torch.no_grad()
def attention_maps(
    encoder: TransformerEncoder,
    x: Tensor,
    padding_mask: Tensor | None = None,
    *,
    positions: int = 64,
    columns: Iterable[str] = (),
) -> dict[str, Picture]:
    """A picture of each head of each layer: how much positions, by row, look at others, of the first of x.

    x and padding_mask: as the encoder takes them. `positions`: the first so many of them. `columns`: the
    names of these, such as tokens. A shade is a weight's share of the largest in its picture. Layers and
    heads are numbered from 1.

    Raises `DefinitionError` for an encoder that has no attention.
    """
    if not isinstance(encoder, TransformerEncoder):
        raise DefinitionError(
            f"attention_maps got {in_one_line(encoder)}; it takes a TransformerEncoder, whose heads' weights "
            "it draws"
        )
    mask = None if padding_mask is None else padding_mask[:1]
    attentions = encoder.inspect(x[:1], mask).attentions
    assert attentions is not None
    names = list(columns)[:positions]
    found = {}
    for layer, heads in enumerate(attentions[0, :, :, :positions, :positions].float().cpu().numpy(), 1):
        for head, weights in enumerate(heads, 1):
            shades = weights / max(weights.max(), np.finfo(np.float32).tiny)
            found[f"attention, layer {layer}, head {head}"] = Picture(shades, None, names, names)
    return found
