"""Evaluation and prediction of batches of one shape: captured on a GPU, and replayed.

A pass replays what was captured for its structure and the shape of its first batch, with the weights copied
in. All other batches, such as the last, smaller one, are computed as they come.
"""

import copy
import functools
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn

from helixband import interruption, randomness
from helixband.errors import HelixbandWarning, first_line
from helixband.nested import leaves, map_leaves, named_leaves
from helixband.training import graphs
from helixband.training.engine import Engine
from helixband.training.graphs import CaptureError
from helixband.training.losses import is_standard
from helixband.training.steps.described import described, lifted, structure
from helixband.training.steps.packable import of_network, of_unseen, shared
from helixband.training.steps.reads import Reads, holds_model

MOST = 8
"""So many structures and shapes are kept captured, those that were used last."""
KNOWN = 64
"""Of so many it is known whether they came before."""
METHODS = {"eval_step": ("compute_loss", "split_output"), "predict_step": ("split_output",)}
"""The methods by which a step gets from what the network gives to what it returns."""

Plain = Callable[..., Any]
"""Gives what comes of a batch by the model itself."""
Compute = Callable[..., Any]
"""As `Plain`, of a model, a copy of its network, and a batch."""


def cannot_capture(model: Any, step: str) -> str | None:
    """Why the batches of a step cannot be captured, in words, or None. Its first batches may tell more."""
    return next(_reasons(model, step), None)


def _reasons(model: Any, step: str) -> Iterator[str]:
    engine, kind = model.engine, type(model).__name__
    own = [name for name in ("forward", step) if engine.has_own(name) or name in vars(model)]
    own += [name for name in METHODS[step] if name not in engine.ours or name in vars(model)]
    yield from (f"{kind} has a {name} of its own" for name in own)
    if not is_standard(model.criterion):
        yield "its criterion is a definition's own"
    if engine.options.precision == "16":
        yield f"precision={engine.options.precision!r}"
    yield from of_network(model.network)
    if len({each.device for each in _tensors_of(model.network)}) > 1:
        yield "its network is on several devices"


class Replay:
    """What a step computes of a batch of one shape, with everything that it reads and writes at fixed places.

    On a GPU it is captured in a CUDA graph and replayed; elsewhere it is computed each time. It belongs to no
    model: `take` copies the weights of one of its structure in.
    """

    def __init__(self, model: Any, compute: Compute, batch: tuple[Any, ...]) -> None:
        """Capture it, given a batch of the shape. Raises `CaptureError`."""
        self.tried: WeakSet[Engine] = WeakSet()
        """Of the models that have shown the same numbers by themselves."""
        self._compute = compute
        try:
            self._network, self._criterion = copy.deepcopy((model.network, model.criterion))
            self._network.eval()
            self._tensors = _tensors_of(self._network)
            self._batch = map_leaves(Tensor.clone, batch)
            with randomness.unmoved() as numbers:
                self._warm_up(model, numbers)
                self._replay = self._recorded(model)
        except CaptureError:
            raise
        except Exception as error:
            raise CaptureError(f"{type(error).__name__}: {first_line(error)}") from error

    @torch.no_grad()
    def take(self, model: Any) -> None:
        """Compute with the weights of a model from now on."""
        if self._tensors:
            torch._foreach_copy_(self._tensors, _tensors_of(model.network))

    @torch.no_grad()
    def run(self, model: Any, *batch: Any) -> Any:
        """What comes of a batch, in tensors that nobody else has."""
        for place, each in zip(leaves(self._batch), leaves(batch), strict=True):
            place.copy_(each)
        self._replay(model)
        return map_leaves(_copied, self._found)

    @torch.no_grad()
    def _computed(self, model: Any) -> Any:
        """What comes of the batch in its place, by the copies, of which no model's tensor is part."""
        engine, own = model.engine, model.criterion
        engine.check_loss = False  # which looks at numbers
        model.criterion = self._criterion
        engine.take_criterion(self._criterion)
        try:
            return self._compute(model, self._network, *self._batch)
        finally:
            model.criterion, engine.sample_weight, engine.noted = own, None, None
            engine.take_criterion(own)

    def _warm_up(self, model: Any, numbers: randomness.Numbers) -> None:
        """Compute once, on a GPU on a stream of its own, as a capture needs it; look at what that changes."""
        attributes, buffers = structure(self._network), list(map(Tensor.clone, self._network.buffers()))
        compute = functools.partial(self._computed, model)
        if self._is_on_gpu:
            graphs.on_side_stream(compute)  # what is made once, as constants are, may wait
            found = graphs.on_side_stream(compute, may_wait=False)
        else:
            found = compute()
        if not numbers.is_now():
            raise CaptureError("its network draws random numbers in evaluation")
        if structure(self._network) != attributes:
            raise CaptureError("its network changes its attributes as it computes")
        if not are_equal(buffers, list(self._network.buffers())):
            raise CaptureError("its network changes its buffers in evaluation")
        for leaf in leaves(found):
            if not isinstance(leaf, Tensor | int | float | None):
                raise CaptureError(f"its network gives a {type(leaf).__name__}")

    def _recorded(self, model: Any) -> Callable[[Any], None]:
        """What computes the batch in its place anew when it is called, into the same tensors each time."""
        if not self._is_on_gpu:
            self._found = map_leaves(_copied, self._computed(model))
            return self._compute_again
        replay, self._found = graphs.recorded(functools.partial(self._computed, model))
        return lambda model: replay()

    def _compute_again(self, model: Any) -> None:
        for place, each in zip(leaves(self._found), leaves(self._computed(model)), strict=True):
            if isinstance(place, Tensor):
                place.copy_(each)

    @property
    def _is_on_gpu(self) -> bool:
        return any(leaf.is_cuda for leaf in leaves(self._batch))


class Pass:
    """The step of one pass of a model over a set, called with each batch in turn."""

    def __init__(self, replays: "Replays", model: Any, step: str, plain: Plain, compute: Compute) -> None:
        self._replays, self._model, self._step = replays, model, step
        self._plain, self._compute = plain, compute
        self._shapes: Hashable = None
        self._key: Hashable = None
        self._replay: Replay | None = None
        self._is_plain = False

    def __call__(self, *batch: Any) -> Any:
        shapes = shapes_of(batch), tuple(leaf.stride() for leaf in leaves(batch))
        if self._shapes is None:
            self._begin(shapes)
        if shapes != self._shapes or self._is_plain:
            return self._plain(*batch)
        if self._replay is None:
            return self._tried(batch)
        interruption.check()
        return self._replay.run(self._model, *batch)

    def _begin(self, shapes: Hashable) -> None:
        """At the first batch: whether those of its shape are captured already, and this model's may be."""
        model, self._shapes = self._model, shapes
        model.engine.modes.eval()
        variables, reason = self._replays.variables(model)
        if reason is not None:
            self._replays.tell(self._step, reason)
            self._is_plain = True
            return
        options = model.engine.options.precision, torch.get_default_dtype()
        what = described(model.criterion), structure(model.network), shared(model.network)
        kind = type(model), str(model.device)
        self._key = (self._step, *kind, *options, *what, tuple(variables.items()), shapes)
        self._is_plain = self._replays.refuses(self._key)
        replay = self._replays.find(self._key)
        if replay is not None and model.engine in replay.tried:
            replay.take(model)
            self._replay = replay

    def _tried(self, batch: tuple[Any, ...]) -> Any:
        """What comes of a batch by the model itself; from its second time on, captured beside it."""
        is_known, model = self._replays.knows(self._key), self._model
        kept = map_leaves(Tensor.clone, batch) if is_known else batch
        model.config.names_read.clear()
        found = self._plain(*batch)
        if not is_known:
            return found
        try:
            if (reason := self._replays.variables(model)[1]) is not None:
                raise CaptureError(reason)
            if model.config.names_read:
                raise CaptureError("its network reads the configuration as it computes")
            replay = self._replays.find(self._key) or Replay(model, self._compute, kept)
            replay.take(model)
            if not are_equal(found, replay.run(model, *kept)):
                raise CaptureError("what it gives is not, bit for bit, what its network gives by itself")
        except CaptureError as error:
            self._is_plain = True
            self._replays.refuse(self._step, self._key, str(error))
            return found
        replay.tried.add(model.engine)
        self._replays.keep(self._key, replay)
        self._replay = replay
        return found


class Replays:
    """What is captured of evaluation and prediction in a process."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, bool] = OrderedDict()
        """What came before, by its structure and shape, and whether it can be captured as far as is known."""
        self._kept: OrderedDict[Hashable, Replay] = OrderedDict()
        self._reads: WeakKeyDictionary[Engine, tuple[Reads, dict[str, Hashable]]] = WeakKeyDictionary()
        """What the network and criterion of a model read besides attributes, and how it was at first."""
        self._told: set[tuple[str, str]] = set()

    def of_pass(self, model: Any, step: str, plain: Plain, compute: Compute) -> Plain:
        """The step of a pass; `plain` itself, which is told, where its batches cannot be captured."""
        if (reason := cannot_capture(model, step)) is None:
            return Pass(self, model, step, plain, compute)
        self.tell(step, reason)
        return plain

    def variables(self, model: Any) -> tuple[dict[str, Hashable], str | None]:
        """What the code of a model's network and criterion reads, and why that cannot be captured, if so."""
        if model.engine not in self._reads:
            reads = Reads(model, {"network": model.network, "criterion": model.criterion})
            self._reads[model.engine] = reads, _values_of(reads, model.network)
        reads, first = self._reads[model.engine]
        now = _values_of(reads, model.network)
        changed = next((name for name, value in first.items() if now[name] != value), None)
        if reads.sees_model or holds_model(model.network):
            return now, "its network can read the model, which changes"
        if reads.iterator is not None:
            return now, f"its network reads an iterator ({reads.iterator}), whose place cannot be put back"
        if reads.unseen is not None:
            return now, of_unseen(reads.unseen)
        return now, changed and f"its network reads the variable {changed}, which changes"

    def find(self, key: Hashable) -> Replay | None:
        """What is captured of a structure and shape, if it is."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def knows(self, key: Hashable) -> bool:
        """Whether one was asked for before; it is from now on."""
        is_known = key in self._known
        self._known[key] = self._known.pop(key, True)
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)
        return is_known

    def refuses(self, key: Hashable) -> bool:
        """Whether it is known that one cannot be captured."""
        return not self._known.get(key, True)

    def keep(self, key: Hashable, replay: Replay) -> None:
        """Keep what was captured, and let go of what was not used for longest."""
        self._kept[key] = replay
        self._kept.move_to_end(key)
        if len(self._kept) > MOST:
            self._kept.popitem(last=False)

    def refuse(self, step: str, key: Hashable, reason: str) -> None:
        """Compute batches by the models themselves from now on, which is told."""
        self._kept.pop(key, None)
        self._known[key] = False
        self.tell(step, reason)

    def tell(self, step: str, reason: str) -> None:
        """Say once why batches are computed by the models themselves."""
        if (step, reason) not in self._told:
            self._told.add((step, reason))
            what = "validated" if step == "eval_step" else "predicted"
            warnings.warn(
                f"each batch that is {what} is computed by itself, and none is captured: {reason}",
                HelixbandWarning,
                stacklevel=2,
            )


REPLAYS = Replays()
"""Those of this process."""


def are_equal(one: Any, other: Any) -> bool:
    """Whether nested tensors are equal, bit for bit, but that any NaN equals any other."""
    if shapes_of(one) != shapes_of(other):
        return False
    pairs = zip(leaves(one), leaves(other), strict=True)
    return all(bool(((a == b) | ((a != a) & (b != b))).all()) for a, b in pairs if isinstance(a, Tensor))


def shapes_of(nested: Any) -> Hashable:
    """The shapes and types of nested tensors, and other leaves as they are."""
    return tuple(
        (name, (leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf)
        for name, leaf in named_leaves(nested)
    )


def _tensors_of(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def _copied(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf


def _values_of(reads: Reads, network: Any) -> dict[str, Hashable]:
    """What code of a network reads that no structure has, by name.

    A lifted attribute, such as the share of a layer of dropout, is nothing in evaluation but for such code.
    """
    asked = {
        name: value
        for name, value in lifted(network).items()
        if reads.names_attribute(name.rpartition(".")[2])
    }
    return reads.described() | asked
