"""Which members can take their steps together, and with whom."""

import itertools
from collections.abc import Hashable, Iterator
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn
from torch.nn.parameter import is_lazy

from helixband.training import precision
from helixband.training.losses import is_standard
from helixband.training.member import Member
from helixband.training.objects import is_known_code, is_opaque, walk
from helixband.training.optimizers import Optimizers
from helixband.training.schedules import Schedule
from helixband.training.state import MODEL
from helixband.training.steps.described import LIFTED, described, is_of_training, structure
from helixband.training.steps.reached import names_in
from helixband.training.steps.stacked import state_names
from helixband.training.steps.updates import KINDS

ONE_BY_ONE = ("train_step", "forward", "on_before_step")
"""Methods that are called for one model; a definition that has one of its own is trained alone."""
RECURRENT = (nn.RNNBase, nn.RNNCellBase)
_READ_GRADIENTS: WeakKeyDictionary[type[Any], bool] = WeakKeyDictionary()
"""What `reads_gradients` has found of classes."""


def cannot_pack(member: Member, takes_one: bool) -> str | None:
    """Why a member takes its steps alone, in words, or None. Its first batch may tell more.

    `takes_one`: there are packs of one member, too.
    """
    return next(_reasons(member, takes_one), None)


def shares_no_step(member: Member) -> str | None:
    """Why a step with others would not be as its own, in words, or None."""
    if is_in_16_bits(member):
        return f"precision={member.model.engine.options.precision!r}"
    name = pads_embedding(member.model.network)
    return None if name is None else f"its network has a padding_idx, at Embedding {name}".rstrip()


def is_in_16_bits(member: Member) -> bool:
    """Whether a step adds up in 16 bits, which show that steps with others add up in other orders."""
    return bool(member.model.engine.options.precision == "bf16")


def pads_embedding(network: nn.Module) -> str | None:
    """The name of an embedding with a row that is not trained; torch.func keeps it so in one model alone."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return str(name)
    return None


def _reasons(member: Member, takes_one: bool) -> Iterator[str]:
    model, engine = member.model, member.model.engine
    kind = type(model).__name__
    yield from (
        f"{kind} has a {name} of its own"
        for name in ONE_BY_ONE
        if engine.has_own(name) or name in vars(model)
    )
    if reads_gradients(type(model)):
        yield f"code of {kind} reads gradients, by .grad"
    yield from _of_optimizer(model)
    if isinstance(model.criterion, nn.Module) and any(True for _ in model.criterion.parameters()):
        yield "its criterion has parameters"
    yield from of_network(model.network)
    held = (value for path, _, value in engine.state.opaque if path[0][1] in MODEL[1:])
    if (iterator := next((each for each in held if is_opaque(each)), None)) is not None:
        yield of_iterator(type(iterator).__name__)
    parameters = list(model.network.parameters())
    assert model.optimizer is not None
    if not any(map(is_lazy, parameters)):
        if len({(each.dtype, each.device) for each in parameters}) > 1:
            yield "the parameters of its network are of several types or on several devices"
        if any(each.is_complex() for each in parameters):
            yield "its network has complex parameters"
        known = set(map(id, parameters))
        if any(id(each) not in known for group in model.optimizer.param_groups for each in group["params"]):
            yield "its optimizer has parameters that are not of its network"
    options = engine.options
    if options.precision == "16":
        yield f"precision={options.precision!r}"
    if not takes_one and (reason := shares_no_step(member)) is not None:
        yield reason
    if options.freeze is not None:
        yield "freeze"
    for constraint in options.constraints:
        if any(
            is_of_training(each)
            for _, each in walk({"": constraint}, lambda value, path: is_of_training(value))
        ):
            yield f"its constraint {type(constraint).__name__} holds the configuration or the model"
    if options.accumulate > 1 and options.nan == "skip":
        yield "accumulate with nan='skip'"
    if engine.shared is not None:
        yield "its steps are taken by several processes"


def reads_gradients(kind: type[Any]) -> bool:
    """Whether code of a class of models reads gradients: a pack gives them, but not within a loss.

    It is found by the name in its methods, and in the functions that these have by name; that of
    torch.autograd.grad is another one.
    """
    if kind not in _READ_GRADIENTS:
        accesses = itertools.chain.from_iterable(names_in(each.__code__).accesses for each in _code_of(kind))
        _READ_GRADIENTS[kind] = any(name == "grad" and of != "autograd" for of, name in accesses)
    return _READ_GRADIENTS[kind]


def _code_of(kind: type[Any]) -> Iterator[FunctionType]:
    """The methods of a class that are a definition's, and the functions that they have by name."""
    own = (vars(each).values() for each in kind.__mro__ if not is_known_code(each))
    waiting, seen = list(itertools.chain.from_iterable(own)), set[int]()
    while waiting:
        value = waiting.pop()
        value = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if isinstance(value, FunctionType) and id(value) not in seen and not is_known_code(value):
            seen.add(id(value))
            yield value
            waiting += map(value.__globals__.get, names_in(value.__code__).variables)


def of_iterator(kind: str) -> str:
    """That a network or its loss reads an iterator of this kind, in words."""
    return f"its network or loss reads an iterator ({kind}), whose place cannot be put back"


def of_unseen(name: str) -> str:
    """That what a network or its loss reads cannot be seen, in words."""
    return f"its network or loss uses {name}, so that what it reads cannot be seen"


def of_network(network: nn.Module) -> Iterator[str]:
    """What of a network does not go with computing by a copy of it, in words."""
    for name, module in network.named_modules():
        what = f"{type(module).__name__} {name}".rstrip()
        if isinstance(module, RECURRENT):
            yield f"its network has the recurrent layer {what}"
        hooks = *module._forward_hooks.values(), *module._forward_pre_hooks.values()
        if module._backward_hooks or not all(map(precision.is_ours, hooks)):
            yield f"its network has hooks, at {what}"
    for name, parameter in network.named_parameters():
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            yield f"its network has hooks, at the parameter {name}"
    places: dict[int, str] = {}
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        place = 0 if is_lazy(tensor) else tensor.untyped_storage().data_ptr()
        if place and (other := places.setdefault(place, name)) != name:
            yield f"{other} and {name} of its network are at one place in memory"


def _of_optimizer(model: Any) -> Iterator[str]:
    optimizer = model.optimizer
    if isinstance(optimizer, Optimizers):
        yield "it has several optimizers"
    elif type(optimizer) not in KINDS:
        yield f"its optimizer is {type(optimizer).__name__}"
    elif optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        yield "its optimizer has hooks"
    elif any(isinstance(momentum := each.get("momentum"), Schedule) and not momentum
             for each in optimizer.param_groups):  # fmt: skip
        yield "the momentum of its optimizer is a schedule that begins at 0"


def pack_key(member: Member) -> Hashable:
    """Of members that can be packed, those with equal keys are of one structure.

    They have the same kind of model, layers and optimizer, and the same settings, but for those that are
    lifted: the hyperparameters of the optimizer, rates of dropout, limits of clipping, the decay of averages.
    """
    model, options = member.model, member.model.engine.options
    lifted = ("clip_value", "clip_norm", "ema_decay")
    given = tuple(getattr(options, name) is not None for name in lifted)
    return (
        type(model),
        str(model.device),
        options.gradient_norm,
        options.precision,
        options.accumulate,
        options.nan == "skip",
        tuple(described(each) for each in options.constraints),
        given,
        structure(model.network),
        shared(model.network),
        _optimizer(model),
    )


def shared(network: nn.Module) -> tuple[str, ...]:
    """The first name of each layer and tensor of a network: it may have others, in each model others."""
    first: dict[int, str] = {}
    named = network.named_modules, network.named_parameters, network.named_buffers
    parts = itertools.chain.from_iterable(each(remove_duplicate=False) for each in named)
    return tuple(first.setdefault(id(part), name) for name, part in parts)


def _optimizer(model: Any) -> Hashable:
    names = {id(value): name for name, value in model.network.named_parameters()}
    kind = KINDS[type(model.optimizer)]
    return (
        type(model.optimizer),
        tuple(
            (
                tuple(names[id(each)] for each in group["params"]),
                state_names(model, group),
                tuple(bool(group[flag]) for flag in kind.flags),
            )
            for group in model.optimizer.param_groups
        ),
    )


def has_our_loss(member: Member) -> bool:
    """Whether the loss is computed by methods of ours, which depend on the criterion alone."""
    model, names = member.model, ("compute_loss", "split_output")
    return model.engine.ours.issuperset(names) and not any(name in vars(model) for name in names)


def has_library_loss(member: Member) -> bool:
    """Whether the loss is ours, with a criterion of torch's or of ours: such read nothing of the model."""
    return has_our_loss(member) and is_standard(member.model.criterion)


def runs_code_in_steps(member: Member) -> bool:
    """Whether code of a definition runs within an epoch, which may change what the network is computed by."""
    engine = member.model.engine
    own_metrics = engine.has_train_metrics and "train_metrics" not in engine.ours
    own = member.is_read_by_code or engine.own_prepare or own_metrics
    return own or not has_library_loss(member)


def cannot_capture(member: Member) -> str | None:
    """Why the steps of a member that can be packed cannot be captured, in words, or None."""
    model, engine = member.model, member.model.engine
    if not engine.options.capture:
        return "capture=false"
    if not has_our_loss(member):
        return f"{type(model).__name__} has a compute_loss or split_output of its own"
    if not has_library_loss(member):
        return "its criterion is a definition's own"
    if engine.own_prepare:
        return f"{type(model).__name__} has a prepare_batch of its own"
    if engine.update.counts:
        return "accumulate"
    return None if engine.update.skip is None else "nan='skip'"


def has_dropout(network: nn.Module) -> bool:
    """Whether a network has layers whose masks a pack draws."""
    return any(type(module) in LIFTED for module in network.modules())
