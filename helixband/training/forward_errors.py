"""What is told of a forward pass that failed: in which layer, on what shape, and what may be wrong."""

from collections.abc import Iterator
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from helixband.errors import in_one_line
from helixband.nested import is_nested, length, shapes
from helixband.networks.one_hot import OneHot

_UNKNOWN = object()


def account(network: nn.Module, x: Any, error: Exception) -> str:
    """The note for an error that the network raised on x.

    The layer and its input are those of the traceback's last frame of a layer, so nothing is run again.
    """
    path, layer, given = _failed(network, error)
    told = f"in the forward pass of {type(network).__name__}"
    if path:
        # A layer that holds others is not shown whole.
        shown = type(layer).__name__ if next(layer.children(), None) else in_one_line(layer)
        told += f", in {path} ({shown})"
        told += "" if given is _UNKNOWN or given is x else f", whose {_told_shape('input', given)}"
    return f"{told}; {_told_shape('x', x)}{_hint(network, x if given is _UNKNOWN else given, x, error)}"


def account_of_criterion(y_pred_loss: Any, y: Any, error: Exception) -> str:
    """The note for an error that the criterion raised."""
    told = f"in the criterion; {_told_shape('its input', y_pred_loss)}; {_told_shape('its target', y)}"
    kind = type(y_pred_loss).__name__
    if is_nested(y_pred_loss) and (f"not {kind}" in str(error) or f"'{kind}'" in str(error)):
        told += (
            f"; the network returned a {kind}, which this criterion does not take: return the part that it "
            "takes, or a dict of y_pred, which is reported, and y_pred_loss, which the criterion gets"
        )
    return told


def _told_shape(name: str, nested: Any) -> str:
    """The shape and type of an array or tensor, or those of all that are nested, as part of a sentence."""
    if is_nested(nested):
        return f"{name} is {_shapes(nested)}"
    if not hasattr(nested, "shape"):
        return f"{name} is {in_one_line(nested)}"
    return f"{name} has the shape {tuple(nested.shape)}, {nested.dtype}"


def _shapes(nested: Any) -> Any:
    try:
        return shapes(nested)
    except AttributeError:  # a layer may be given anything
        return in_one_line(nested)


def _failed(network: nn.Module, error: Exception) -> tuple[str, nn.Module, Any]:
    """The path and the innermost layer that was at work, and its input, as far as that is known."""
    path_of = {module: path for path, module in network.named_modules()}
    layer, given = network, _UNKNOWN
    for frame in _frames(error):
        module = frame.f_locals.get("self")
        if not isinstance(module, nn.Module) or module not in path_of:
            continue
        if module is not layer:
            layer, given = module, _UNKNOWN
        if frame.f_code.co_name == "_call_impl" and frame.f_locals.get("args"):
            given = frame.f_locals["args"][0]
    return path_of[layer], layer, given


def _frames(error: Exception) -> Iterator[FrameType]:
    tb = error.__traceback__
    while tb is not None:
        yield tb.tb_frame
        tb = tb.tb_next


def _hint(network: nn.Module, given: Any, x: Any, error: Exception) -> str:
    """What may be wrong with what a layer was given, of an x."""
    if "more than 1 value per channel" in str(error) and length(x) == 1:
        return (
            ": a batch of one example, on which batch normalisation cannot train; pass drop_last=True to the "
            "training generator, or choose another --batch-size"
        )
    if isinstance(error, TypeError) and "required positional argument" in str(error):
        return "; the network is called with x alone, and its loss is the criterion's"
    if not isinstance(given, Tensor) or given.is_floating_point() or given is not x:
        return ""
    if any(isinstance(module, OneHot | nn.Embedding | nn.EmbeddingBag) for module in network.modules()):
        return ""
    if x.ndim == 2 and x.dtype == torch.uint8:
        return ": indexes of letters, which OneHot() as the first layer takes"
    return ": networks compute with float32, so make it that in the generator" if x.ndim > 2 else ""
