"""A network as an ONNX graph: exported, checked against the model on real inputs, and run without code."""

import contextlib
import io
import logging
import warnings
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from base_model import BaseModel
from helixband.errors import DataError, DefinitionError, HelixbandError
from helixband.files import read_whole
from helixband.generators.arrays import filled_up
from helixband.nested import leaves, length, map_leaves, named_leaves
from helixband.training.feed import as_tensor, in_order, to_device, without_padding

TOLERANCE = 1e-4
"""How far a prediction of the graph may be from the model's, absolutely or relatively."""

ROWS = 256
"""Examples that a graph gets at once."""


class Graph:
    """An ONNX graph that predicts as a model does; `names` are those of its inputs and outputs.

    Raises `HelixbandError` where onnxruntime is not installed, or cannot read the graph.
    """

    def __init__(self, path: Path, names: dict[str, list[str]], seed: int = 0) -> None:
        self.args = Namespace(batch_size=ROWS, seed=seed)
        self.device = torch.device("cpu")
        self._inputs, self._outputs = names["inputs"], names["outputs"]
        runtime = imported("onnxruntime")
        try:
            options = runtime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            self._session = runtime.InferenceSession(
                read_whole(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has kinds of its own
            raise HelixbandError(f"onnxruntime cannot read {path}: {error}") from error

    def predict(self, generator: Any) -> Any:
        """y_pred over the batches of x of a generator, NumPy (N, …), or a dict of such by name."""
        found: list[list[Any]] = []
        read, _, order = without_padding(generator)
        for x in read:
            arrays = [as_tensor(leaf).numpy() for leaf in leaves(x)]
            if len(arrays) != len(self._inputs):
                raise DataError(f"x has {len(arrays)} arrays, and the graph takes {len(self._inputs)}")
            for first in range(0, length(x), ROWS):
                found.append(self._run([array[first : first + ROWS] for array in arrays]))
        if not found:
            raise DataError("there is no batch; prediction needs one example at least")
        joined = [in_order(filled_up(list(parts)), order) for parts in zip(*found, strict=True)]
        if self._outputs == [""]:
            return joined[0]
        return {name.removeprefix("."): one for name, one in zip(self._outputs, joined, strict=True)}

    def _run(self, arrays: list[Any]) -> list[Any]:
        told = self._session.get_inputs()
        feed = {one.name: array for one, array in zip(told, arrays, strict=True)}
        try:
            found: list[Any] = self._session.run(None, feed)
        except Exception as error:
            shapes = ", ".join(f"{array.shape} {array.dtype}" for array in arrays)
            raise DataError(f"the graph does not take x of {shapes}: {error}") from error
        return found


class _Predicting(nn.Module):
    """The y_pred of a model, as arrays in a row, of the arrays of x in a row."""

    def __init__(self, model: BaseModel, like: Any) -> None:
        super().__init__()
        self.network = model.network
        self._forward, self._like = model.forward, like

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        rest = iter(arrays)
        x = map_leaves(lambda _: next(rest), self._like)
        return tuple(leaves(self._forward(x)["y_pred"]))


def export(model: BaseModel, x: Any, path: Path) -> dict[str, Any]:
    """Write the graph of a model; its names, and the largest difference from the model on `x`, a batch.

    Raises `DefinitionError` naming the layer for an operator that ONNX does not have, and where predictions
    differ; `HelixbandError` where onnx, onnxscript or onnxruntime is not installed.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        imported(package)
    x = to_device(x, torch.device("cpu"))
    model.network.to("cpu")
    model.engine.modes.eval()
    expected = map_leaves(np.asarray, model.predict([x]))
    names = {
        "inputs": [name for name, _ in named_leaves(x)],
        "outputs": [name for name, _ in named_leaves(expected)],
    }
    predicting = _Predicting(model, x).eval()
    arrays = tuple(leaves(x))
    try:
        _write(predicting, arrays, path)
    except Exception as error:  # torch raises many kinds
        layer = _layer_that_fails(predicting, arrays) or "the network"
        raise DefinitionError(
            f"the ONNX graph cannot be made: {layer} has what ONNX cannot express: {_reason(error)}. Leave "
            "out --onnx, or write the layer with other operators"
        ) from error
    graph = Graph(path, names)
    difference = 0.0
    found = dict(named_leaves(graph.predict([map_leaves(lambda one: one.numpy(), x)])))
    for (name, right), (_, got) in zip(named_leaves(expected), found.items(), strict=True):
        if right.shape != got.shape or not np.allclose(got, right, atol=TOLERANCE, rtol=TOLERANCE):
            worst = (
                np.abs(got - right).max() if right.shape == got.shape else f"{got.shape}, not {right.shape}"
            )
            raise DefinitionError(
                f"the ONNX graph does not predict as the model does: y_pred{name} differs by {worst}. A "
                "network whose computation depends on values or on the batch size cannot be exported"
            )
        difference = max(difference, float(np.abs(got - right).max(initial=0)))
    return {**names, "largest_difference": difference, "examples": length(x)}


def imported(package: str) -> Any:
    """A package that ONNX needs; raises `HelixbandError` where it is not installed."""
    import importlib

    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise HelixbandError(
            f"{error.name} is not installed, which ONNX graphs need: pip install 'helixband[onnx]'"
        ) from error


def _write(module: nn.Module, arrays: tuple[Any, ...], path: Path) -> None:
    batch = torch.export.Dim("batch", min=1)
    shapes = tuple({0: batch} for _ in arrays)
    with _quiet():
        program = torch.onnx.export(module, arrays, dynamo=True, dynamic_shapes=(shapes,), verbose=False)
        assert program is not None
        program.save(str(path), external_data=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What the exporter says of itself is not for the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _layer_that_fails(predicting: _Predicting, arrays: tuple[Any, ...]) -> str | None:
    """The first and innermost layer that cannot be exported by itself."""
    inputs: dict[str, tuple[Any, ...]] = {}
    hooks = []
    for name, layer in predicting.network.named_modules():

        def keep(layer: nn.Module, given: tuple[Any, ...], name: str = name) -> None:
            inputs.setdefault(name, given)

        hooks.append(layer.register_forward_pre_hook(keep))
    try:
        with torch.no_grad():
            predicting(*arrays)
    finally:
        for hook in hooks:
            hook.remove()
    layers = dict(predicting.network.named_modules())
    for name in sorted(inputs, key=lambda name: -name.count(".") if name else 1):
        given = inputs[name]
        if not all(isinstance(one, Tensor) for one in given):
            continue
        try:
            with _quiet():
                torch.onnx.export(layers[name], given, dynamo=True, verbose=False)
        except Exception:  # whatever it is, this layer is the one
            kind = type(layers[name]).__name__
            return f"layer {name} ({kind})" if name else f"the network ({kind})"
    return None


def _reason(error: BaseException) -> str:
    """The innermost cause, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]
