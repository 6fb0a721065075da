"""What a member's own network makes of a batch, beside what a pack makes of it."""

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from helixband import randomness
from helixband.errors import first_line
from helixband.nested import leaves, length, map_leaves
from helixband.training import judge, precision
from helixband.training.ended import lost_device
from helixband.training.member import Batch, Member, Model
from helixband.training.objects import is_known_code
from helixband.training.steps.described import LIFTED, described, structure
from helixband.training.steps.packable import has_library_loss, is_in_16_bits, of_unseen, pads_embedding
from helixband.training.steps.reads import Reads
from helixband.training.steps.stacked import trained_names, without_state

TOLERANCE = 1e-5
"""How much a number may differ, relative to the largest, or to 1 if that is smaller."""
COUNTS_APART = "its parameters have had different numbers of steps"
OF_GRADIENTS = 1e-4
"""How much gradients may differ, relative to the largest."""
SHAPES = 4096
"""So many shapes of batches are known for all members of a kind."""


Configuration = tuple[tuple[str, Hashable], ...]
"""What a network read of its configuration, with the values."""


class Found(NamedTuple):
    """What one batch gave, without dropout: nothing of it is kept."""

    loss: Tensor
    y_pred: Any
    buffers: dict[str, Tensor]
    gradients: Tensor
    """Of all that is trained, one after another, (n,)."""
    configuration: Configuration = ()
    moves_criterion: bool = False
    """Whether the criterion changes as it is called."""


def own_pass(member: Member, batch: Batch, variables: Reads) -> Found | str:
    """What the member's own network makes of a batch, or why it cannot be packed; it stays as it was.

    An error is a reason, too: a step of its own may do without what failed, or else fails by it.
    """
    if variables.unseen is not None:
        return of_unseen(variables.unseen)
    try:
        if is_in_16_bits(member):  # it may do in 16 bits what it does not in single precision
            with precision.single(False):
                found = _own_pass(member, batch, variables)
            if isinstance(found, str):
                return found
        return _own_pass(member, batch, variables)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        if lost_device(error):
            raise
        return f"its first batch failed when it was tried: {type(error).__name__}: {first_line(error)}"


def _own_pass(member: Member, batch: Batch, variables: Reads) -> Found | str:
    model = member.model
    x, y, *weight = map_leaves(Tensor.clone, batch)
    versions, reads = [each._version for each in _tensors(x)], model.config.schedules_read
    with (
        randomness.unmoved() as numbers,
        model.engine.state.unmoved(model),
        _without_dropout(model.network),
        variables.kept(),
    ):
        model.engine.modes.train()
        model.engine.sample_weight, model.engine.rows = (weight[0] if weight else None), length(y)
        attributes, places = structure(model.network), list(map(id, model.network.buffers()))
        modes = [module.training for module in model.network.modules()]
        before, settings = variables.described(), _settings(model.optimizer)
        model.config.names_read.clear()
        try:
            with _Calls() as calls:
                output = model.forward(x)  # type: ignore[attr-defined]
            if calls.pads and pads_embedding(model.network) is None:
                return "its network calls embedding with a padding_idx"
            if calls.puts_hooks:
                return "its network puts hooks on tensors as it computes"
            if model.config.schedules_read != reads:
                return "its network reads a schedule of the configuration"
            if [each._version for each in _tensors(x)] != versions:
                return "its network changes its input in place"
            if list(map(id, model.network.buffers())) != places:
                return "its network replaces a buffer as it computes, in place of changing it"
            if [module.training for module in model.network.modules()] != modes:
                return "its network changes the mode of a layer as it computes"
            if structure(model.network) != attributes:
                return "its network changes its attributes as it computes"
            if changed := changed_name(before, variables.described()):
                return f"its network changes the variable {changed} as it computes"
            if not numbers.is_now():
                return "its network draws random numbers by other means than layers of dropout"
            configuration = tuple(
                (name, described(model.config[name])) for name in sorted(model.config.names_read)
            )
            criterion = described(model.criterion)
            loss, (y_pred, _) = judge.loss_of_output(model, output, y)
            moves = described(model.criterion) != criterion or variables.described() != before
            if _settings(model.optimizer) != settings:
                return "its network or its loss changes a setting of its optimizer"
            if name := _moving_constraint(model, variables):
                return f"its constraint {name} changes as it is applied"
        finally:
            model.engine.sample_weight = None
        names = [name for group in trained_names(model) for name in group]
        parameters = [model.network.get_parameter(name) for name in names]
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        if None in gradients:
            return of_no_gradient(names[gradients.index(None)])
        buffers = {name: value.detach().clone() for name, value in model.network.named_buffers()}
    flat = torch.cat([each.reshape(-1) for each in gradients])
    return Found(loss.detach(), y_pred, buffers, flat, configuration, moves)


def _settings(optimizer: Any) -> list[Hashable]:
    """Learning rate, momentum and whatever else the groups of an optimizer have besides parameters."""
    groups = [dict(group) for group in optimizer.param_groups]
    return [described({name: group[name] for name in sorted({*group} - {"params"})}) for group in groups]


def _moving_constraint(model: Model, variables: Reads) -> str | None:
    """The kind of a constraint of the definition's own that has a state, or changes a variable."""
    for constraint in model.engine.options.constraints:
        if is_known_code(type(constraint)):
            continue
        before = described(constraint), variables.described()
        for weight in constraint.weights(model.network):
            constraint.apply(weight.detach().clone())
        if (described(constraint), variables.described()) != before:
            return type(constraint).__name__
    return None


def of_no_gradient(name: str) -> str:
    """That a parameter is not trained, in words."""
    return f"its parameter {name} gets no gradient"


class _Calls(TorchFunctionMode):
    """Notes calls that a pack computes otherwise."""

    puts_hooks = False
    """Whether hooks are put on tensors, which can look at any number of a gradient."""
    pads = False
    """Whether `embedding` is called with a `padding_idx`, which torch.func knows of one model alone."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.puts_hooks = self.puts_hooks or func is Tensor.register_hook
        self.pads = self.pads or _pads(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


def _pads(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether a call looks up rows of a table of which one is not trained."""
    if func is nn.functional.embedding:
        return kwargs.get("padding_idx") is not None
    # For torch's own function -1, as by default, is none.
    given = args[2] if len(args) > 2 else -1
    return func is torch.embedding and bool(kwargs.get("padding_idx", given) >= 0)


def changed_name(before: Mapping[str, Hashable], now: Mapping[str, Hashable]) -> str | None:
    """The name of a variable that has changed."""
    return next((name for name, value in before.items() if now[name] != value), None)


@contextmanager
def left_as_it_was(member: Member, variables: Reads) -> Iterator[None]:
    """Around code of ours that calls a definition's loss or constraints: their state is then as before."""
    if has_library_loss(member) and not member.model.engine.options.constraints and not variables.values():
        yield
        return
    with member.turn:
        numbers = randomness.Numbers()
    try:
        with member.model.engine.state.unmoved(member.model), variables.kept():
            yield
    finally:
        with member.turn:
            numbers.put_back()


class Tried:
    """Which members were compared with their own networks: as what kind, and with batches of which shapes.

    Of a shape that comes later, it holds for all members of the kind.
    """

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Member, _Known] = WeakKeyDictionary()
        self._shapes: set[Hashable] = set()

    def __contains__(self, member: Member) -> bool:
        return member in self._known

    def has(self, member: Member, kind: Hashable, of_several: bool, shape: Hashable) -> bool:
        """Whether it was compared as this kind, among several if `of_several`; None is any shape."""
        known = self._known.get(member)
        if known is None or known.kind != kind or known.of_several < of_several:
            return False
        if shape is None or shape in known.shapes:
            return True
        if (kind, known.of_several, shape) not in self._shapes:
            return False
        known.shapes.add(shape)
        return True

    def lacking(
        self,
        members: Iterable[Member],
        kind_of: Callable[[Member], Hashable],
        of_several: bool,
        shape: Hashable,
    ) -> list[Member]:
        """Those that are to be compared; of a kind, one of those that were on batches of other shapes."""
        found: list[Member] = []
        kinds = set[Hashable]()
        for member in members:
            kind = kind_of(member)
            if self.has(member, kind, of_several, shape):
                continue
            if not self.has(member, kind, of_several, None):
                found.append(member)
            elif kind not in kinds:
                kinds.add(kind)
                found.append(member)
        return found

    def note(self, member: Member, kind: Hashable, of_several: bool, shape: Hashable, found: Found) -> None:
        """Note that a member was compared on a batch of a shape, of which its own network made this."""
        known = self._known.get(member)
        if known is None or (known.kind, known.of_several) != (kind, of_several):
            scale = float(found.gradients.abs().max())
            known = self._known[member] = _Known(kind, of_several, set(), scale)
        known.shapes.add(shape)
        if len(self._shapes) >= SHAPES:
            self._shapes.clear()
        self._shapes.add((kind, of_several, shape))

    def scale(self, member: Member) -> float:
        """The largest gradient of its first batch, beside which those of later ones may be mere noise."""
        known = self._known.get(member)
        return 0.0 if known is None else known.scale


class _Known(NamedTuple):
    """As what a member was compared."""

    kind: Hashable
    of_several: bool
    shapes: set[Hashable]
    scale: float


def difference(own: Found, packed: Found, scale: float = 0.0) -> str | None:
    """In what the two differ by more than rounding, in words; of gradients, that of those below `scale`."""
    pairs = [("loss", own.loss, packed.loss, TOLERANCE)]
    if packed.y_pred is not None:
        both = zip(leaves(own.y_pred), leaves(packed.y_pred), strict=True)
        pairs += [("prediction", one, other, TOLERANCE) for one, other in both]
    pairs += [
        (f"buffer {name}", own.buffers[name], value, TOLERANCE) for name, value in packed.buffers.items()
    ]
    pairs.append(("gradient", own.gradients, packed.gradients, OF_GRADIENTS))
    for what, one, other, tolerance in pairs:
        least = scale if what == "gradient" else 1.0
        by = relative(one.detach().double(), other.detach().double(), least)
        if not by <= tolerance:
            return f"its {what} on the first batch differs by {by:.2g} from that of its own network"
    return None


def relative(one: Tensor, other: Tensor, least: float = 0.0) -> float:
    """The largest difference of two tensors, relative to the largest number of the first, or to the least."""
    both = one.isfinite() | other.isfinite()
    if not one.numel() or not both.any():
        return 0.0
    scale = max(float(one.abs().max()), least, 1e-30)
    return float((one - other)[both].abs().max()) / scale


def _tensors(x: Any) -> Iterator[Tensor]:
    return (each for each in leaves(x) if isinstance(each, Tensor))


@contextmanager
def _without_dropout(network: torch.nn.Module) -> Iterator[None]:
    layers: list[Any] = [each for each in network.modules() if type(each) in LIFTED]
    rates = [each.p for each in layers]
    for each in layers:
        each.p = 0.0
    try:
        yield
    finally:
        for each, rate in zip(layers, rates, strict=True):
            each.p = rate


def seconds_of(compute: Callable[[], Any]) -> float:
    """How long a computation on the GPU takes, the first time left out."""
    compute()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(3):
        compute()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def choose_convolution(template: Any, compute: Callable[[], Any]) -> None:
    """Time both ways of the convolutions of a template, once, and take the one that computes sooner."""
    seconds = {}
    for unfolds in (False, True):
        template.unfold(unfolds)
        seconds[unfolds] = seconds_of(compute)
    template.unfold(seconds[True] < seconds[False])


def needs_own_step(member: Member) -> bool:
    """Whether the next step has to be the member's own, in which layers, optimizer or averages get state."""
    model, average = member.model, member.model.engine.average
    if any(map(is_lazy, model.network.parameters())) or any(True for _ in without_state(model)):
        return True
    return average is not None and average.by_step and not average.begun
