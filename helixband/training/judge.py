"""What a model makes of labelled data: its loss and metrics, of a batch and of a whole set."""

import functools
import math
import operator
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from helixband import interruption
from helixband.env import check_name
from helixband.errors import DataError, DefinitionError, HelixbandWarning, in_one_line
from helixband.nested import leaves, length, map_leaves
from helixband.training import broadcasting, monte_carlo, passes
from helixband.training.feed import Split
from helixband.training.meters import Loss, LossMeter, MetricMeter, mean_of
from helixband.training.passes import Evaluated, Evaluator
from helixband.training.result import joined, named, plain_numbers
from helixband.training.rows import check_leaves
from helixband.training.weighting import split_of


def mean_loss(model: Any, y_pred_loss: Any, y: Any) -> Tensor:
    """The loss of a batch as a scalar; the engine has then noted its weight, where that is known."""
    engine = model.engine
    if engine.check_loss:
        check_loss(model, y_pred_loss, y)
    engine.noted = None
    engine.adds_up, engine.weight_used = True, False
    given = model.compute_loss(y_pred_loss, y)
    if engine.sample_weight is not None and not engine.weight_used:
        raise DefinitionError(
            "split_batch gives weights of examples, and compute_loss does not use them: call "
            "super().compute_loss(y_pred_loss, y) in it"
        )
    is_scalar = isinstance(given, Tensor) and not given.ndim  # asked here, as it nearly always is one
    return given if is_scalar else _noted(engine, given, length(y))


def check_sums(model: Any, y_pred_loss: Any, y: Any) -> None:
    """Warn where the loss of a batch is not that of its halves together, for which accumulation takes it."""
    rows = length(y)
    if rows < 2 or any(leaf.ndim == 0 or len(leaf) != rows for leaf in leaves((y_pred_loss, y))):
        return
    of_all, together = _of_part(model, y_pred_loss, y, slice(rows)), LossMeter()
    for part in (slice(rows // 2), slice(rows // 2, rows)):
        together.add(_of_part(model, y_pred_loss, y, part))
    whole, halves = float(of_all.value), together.total()
    if math.isfinite(whole + halves) and not math.isclose(whole, halves, rel_tol=1e-3, abs_tol=1e-6):
        warnings.warn(
            "accumulate adds up the losses of batches, and that of this definition does not add up: it is "
            f"{whole:g} of a batch, and {halves:g} of its halves together. So a step is not that of a larger "
            "batch; it is, if compute_loss returns (sum, weight)",
            HelixbandWarning,
            stacklevel=2,
        )


@torch.no_grad()
def _of_part(model: Any, y_pred_loss: Any, y: Any, part: slice) -> Loss:
    """The loss of some rows of a batch, as accumulation weighs it."""
    engine, cut = model.engine, operator.itemgetter(part)
    weight, y_pred_loss, y = engine.sample_weight, map_leaves(cut, y_pred_loss), map_leaves(cut, y)
    engine.sample_weight, engine.rows = None if weight is None else weight[part], length(y)
    try:
        loss = mean_loss(model, y_pred_loss, y)
        return Loss(loss, engine.share_of(loss))
    finally:
        engine.sample_weight = weight


def backward(model: Any, given: Any, retain_graph: bool) -> Tensor:
    """Add the gradients of what `compute_loss` gave in the step under way; the scalar of it, detached.

    Where the step returns that, its weight and the losses of which it is the sum are known.
    """
    engine = model.engine
    loss = _noted(engine, given, engine.rows)
    engine.update.backward(model, loss, retain_graph)
    detached: Tensor = engine.detached(loss, engine.weighed(loss))
    return detached


def _noted(engine: Any, given: Any, rows: int) -> Tensor:
    """The scalar of what `compute_loss` gave; the engine has noted its weight and parts."""
    if isinstance(given, dict):
        return _sum_of(engine, given, rows)
    if isinstance(given, tuple):
        mean = mean_of(given)
        engine.note(*mean)
        return mean.value
    if not isinstance(given, Tensor) or given.ndim:
        shape = f"of shape {tuple(given.shape)}" if isinstance(given, Tensor) else in_one_line(given)
        raise DefinitionError(
            f"the loss is {shape}; compute_loss has to return, and backward takes, a scalar tensor, "
            "(sum, weight), or a dict of these by name"
        )
    return given


def _sum_of(engine: Any, losses: dict[str, Any], rows: int) -> Tensor:
    """The sum of named losses; the engine has noted each.

    Raises `DefinitionError` for what is neither a scalar nor (sum, weight), and for a name that is none or
    taken.
    """
    parts: dict[str, Loss] = {}
    for name, given in losses.items():
        named(name, "compute_loss")
        if isinstance(given, tuple):
            parts[name] = mean_of(given)
        elif isinstance(given, Tensor) and not given.ndim:
            weighed = engine.weighed(given)
            parts[name] = weighed or Loss(given, engine.weight_of(rows))
            engine.adds_up = engine.adds_up and weighed is not None
        else:
            shape = tuple(given.shape) if isinstance(given, Tensor) else in_one_line(given)
            raise DefinitionError(
                f"compute_loss returned {shape} as the loss {name!r}; each has to be a scalar tensor, or "
                "(sum, weight)"
            )
    if not parts or "loss" in parts:
        what = "the name 'loss', which their sum has" if parts else "a dict without a loss"
        raise DefinitionError(f"compute_loss returned {what}: give each loss a name of its own")
    total = torch.stack([part.value for part in parts.values()]).sum()
    if engine.shared is None:  # else each is put together with those of the other processes
        parts = {name: Loss(part.value.detach(), part.weight) for name, part in parts.items()}
    engine.note(total, engine.weight_of(rows), parts)
    return total


def check_loss(model: Any, y_pred_loss: Any, y: Any) -> None:
    """Look at the first batch of a pass, if none of its shapes was looked at: is its loss a broadcast one?"""
    engine = model.engine
    engine.check_loss = False
    check_leaves(y_pred_loss, "the network", "y_pred or y_pred_loss")
    if not _takes_pairs(model, y_pred_loss, y) and engine.unseen("loss", y_pred_loss, y):
        apart = functools.partial(engine.state.unmoved, model)
        weight, engine.sample_weight = engine.sample_weight, None  # which is of all rows
        try:
            broadcasting.check_loss(model.compute_loss, y_pred_loss, y, apart)
        finally:
            engine.sample_weight = weight


def _takes_pairs(model: Any, y_pred_loss: Any, y: Any) -> bool:
    """Whether the loss is one of torch's, by our own `compute_loss`, of two tensors of one shape."""
    are_alike = isinstance(y_pred_loss, Tensor) and isinstance(y, Tensor) and y_pred_loss.shape == y.shape
    is_of_torch = type(model.criterion).__module__ == nn.MSELoss.__module__
    return are_alike and is_of_torch and not model.engine.own_loss


def training_loss(model: Any, x: Any, y: Any) -> tuple[Tensor, tuple[Any, Loss]]:
    """The loss of a batch, with y_pred and the loss with its weight among others."""
    found = loss_of_output(model, model.forward(x), y)
    if not found[0].requires_grad:
        raise DefinitionError(
            "the loss depends on no parameter that is trained: compute it from what the network gave, "
            "without detach(), item() and no_grad()"
        )
    return found


def loss_of_output(model: Any, output: Mapping[str, Any], y: Any) -> tuple[Tensor, tuple[Any, Loss]]:
    """As `training_loss`, of what `forward` gave."""
    loss = mean_loss(model, output["y_pred_loss"], y)
    weighed = model.engine.weighed(loss) or Loss(loss, _share_of_any(model.engine, loss))
    return loss, (output["y_pred"], weighed)


def _share_of_any(engine: Any, loss: Tensor) -> Any:
    """How much a batch counts whose loss was made of another one: where that has no weight, by its rows."""
    share = engine.share_of(loss)
    is_known = not isinstance(share, Tensor) or engine.sample_weight is not None
    return share if is_known else torch.where(share == 0, engine.rows, share)


@torch.no_grad()
def batch(model: Any, x: Any, y: Any, weight: Tensor | None = None) -> Evaluated:
    """One batch in evaluation mode, perhaps with weights of its examples, (N,)."""
    interruption.check()
    model.engine.sample_weight = weight
    model.engine.modes.eval()
    output = model.forward(x)
    model.engine.scores_y_pred = output["y_pred_loss"] is output["y_pred"]
    return _evaluated(model, output, y)


def prediction(model: Any, x: Any) -> Any:
    """The y_pred of one batch, in evaluation mode; a definition's own step need not set it."""
    model.engine.modes.eval()
    return model.predict_step(x)


def _evaluated_by(model: Any, network: nn.Module, x: Any, y: Any, weight: Tensor | None = None) -> Evaluated:
    """As `batch`, of a copy of the model's network."""
    model.engine.sample_weight = weight
    return _evaluated(model, model.split_output(network(x)), y)


def _predicted_by(model: Any, network: nn.Module, x: Any) -> Any:
    return model.split_output(network(x))["y_pred"]


def evaluation_step(model: Any) -> Callable[..., Evaluated]:
    """What evaluates a batch (x, y) or (x, y, weight) of a set; one for each pass over a set."""
    plain = functools.partial(_by_definition if model.engine.own_eval_step else batch, model)
    return _replayed(model, "eval_step", plain, _evaluated_by) if passes.captures(model) else plain


def prediction_step(model: Any) -> Callable[[Any], Any]:
    """What gives y_pred of a batch of a set; one for each pass over a set."""
    plain = functools.partial(prediction, model)
    return _replayed(model, "predict_step", plain, _predicted_by) if passes.captures(model) else plain


def _replayed(model: Any, step: str, plain: Callable[..., Any], compute: Callable[..., Any]) -> Any:
    from helixband.training.replays import REPLAYS  # which a run on a CPU does not need

    return REPLAYS.of_pass(model, step, plain, compute)


def _evaluated(model: Any, output: dict[str, Any], y: Any) -> Evaluated:
    loss = mean_loss(model, output["y_pred_loss"], y)
    known = model.engine.adds_up and model.engine.weighed(loss) is not None
    outputs = None if known else (output["y_pred_loss"], y)
    weighed, y_pred = model.engine.read((loss, output["y_pred"]), length(y), "eval_step")
    return Evaluated(weighed, y_pred, outputs)


def whole(
    model: Any, generator: Iterable[Any], elsewhere: Evaluator | None = None
) -> tuple[dict[str, float], Any, Any]:
    """(loss and metrics, y_true, y_pred) of a whole set, whose pieces are perhaps evaluated `elsewhere`."""
    losses, y_true, y_pred = outputs(model, generator, split_of(model), elsewhere=elsewhere)
    return joined(losses, numbers(model, "eval_metrics", y_true, y_pred)), y_true, y_pred


def outputs(
    model: Any,
    generator: Iterable[Any],
    split: Split | None = None,
    of_part: bool = False,
    alone: bool = False,
    elsewhere: Evaluator | None = None,
) -> tuple[dict[str, float], Any, Any]:
    """(losses, y_true, y_pred) of a set, its labels checked; `split` is that of its batches.

    With `alone`, this process does it without the others of its training; `elsewhere` has others do it.
    Raises `DataError` where no example counts for the loss, unless this is `of_part` of a set alone.
    """
    losses, y_true, y_pred = _pass(model, evaluation_step(model), generator, split, of_part, alone, elsewhere)
    model.check_labels(y_true)
    if not math.isfinite(losses["loss"]):
        _check_finite(generator, y_true, y_pred)
    return losses, y_true, y_pred


def _pass(
    model: Any,
    step: Callable[..., Evaluated],
    generator: Iterable[Any],
    split: Split | None = None,
    of_part: bool = False,
    alone: bool = False,
    elsewhere: Evaluator | None = None,
) -> tuple[dict[str, float], Any, Any]:
    """(losses, y_true, y_pred) of a whole set, whose batches `step(x, y)` evaluates."""
    model.engine.begin_pass()

    @torch.no_grad()
    def loss_of(y_pred_loss: Any, y: Any, weight: Tensor | None = None) -> Loss:
        model.engine.sample_weight = weight
        loss = mean_loss(model, y_pred_loss, y)
        return model.engine.weighed(loss) or Loss(loss, 1)

    shared = elsewhere or (None if alone else model.engine.shared)
    of_set = (model.args.batch_size, model.batch_limit, split, shared, of_part, model.missing_label)
    try:
        return passes.evaluate(step, loss_of, generator, model.device, *of_set)
    finally:
        model.engine.sample_weight = None


def whole_mc(
    model: Any, generator: Iterable[Any], samples: int, elsewhere: Evaluator | None = None
) -> tuple[dict[str, float], Any, Any]:
    """As `whole`, of the mean over `samples` passes with dropout left on, with the spread as <name>_std.

    The loss is that of the mean prediction if the criterion takes y_pred itself. A criterion that takes other
    outputs, as logits, or a loss of the definition's own, has no loss of it: then it is the mean loss.
    """
    with model.engine.modes.dropout_left_on():
        found = [whole(model, generator, elsewhere) for _ in range(samples)]
    values, y_true = [values for values, _, _ in found], found[0][1]
    monte_carlo.check(predictions := [y_pred for _, _, y_pred in found])
    y_pred = monte_carlo.mean(predictions)
    engine = model.engine
    if engine.scores_y_pred and not (engine.own_loss or engine.own_eval_step or engine.own_split):
        loss = _pass(model, functools.partial(_of_prediction, model), [(y_pred, y_true)])[0]["loss"]
    else:
        loss = float(np.mean([each["loss"] for each in values]))
    result = {"loss": loss, **numbers(model, "eval_metrics", y_true, y_pred)}
    of_parts = values[0].keys() - result.keys()  # losses by name
    result |= {name: float(np.mean([each[name] for each in values])) for name in sorted(of_parts)}
    return result | monte_carlo.spreads(values, result), y_true, y_pred


@torch.no_grad()
def _of_prediction(model: Any, y_pred: Any, y: Any) -> Evaluated:
    """As `batch`, of a prediction that is there."""
    model.engine.modes.eval()
    return _evaluated(model, {"y_pred": y_pred, "y_pred_loss": y_pred}, y)


def meter_of(model: Any) -> Callable[[], MetricMeter] | None:
    """What makes the meters of the model's training metrics; None where it has none."""
    if not model.engine.has_train_metrics:
        return None
    # Only the class that has `train_metrics` knows the same for several batches.
    owner = next(kind for kind in type(model).__mro__ if "train_metrics" in vars(kind))
    of_batches = vars(owner).get("_of_batches") if _is_ours(model, "train_metrics") else None
    of_one = functools.partial(numbers, model, "train_metrics")
    if of_batches is None:
        return functools.partial(MetricMeter, of_one)
    return functools.partial(of_batches.meter, of_one, model.device.type != "cpu")


def _is_ours(model: Any, name: str) -> bool:
    """Whether the method of that name is one of our own classes', and of no model alone."""
    return name in model.engine.ours and name not in vars(model)


def numbers(model: Any, name: str, y_true: Any, y_pred: Any) -> dict[str, float]:
    """The metrics of the method of that name, as plain numbers; a definition's own gets arrays of its own."""
    engine, compute = model.engine, getattr(model, name)
    if _is_ours(model, name):
        return plain_numbers(compute(y_true, y_pred), name)
    if engine.check_metrics and engine.unseen(name, y_true, y_pred):
        apart = functools.partial(engine.state.unmoved, model)
        broadcasting.check_metrics(compute, y_true, y_pred, name, apart)
    engine.check_metrics = False
    return plain_numbers(compute(*map_leaves(np.copy, (y_true, y_pred))), name)


def names_of(model: Any, y_pred: Any) -> tuple[str, ...]:
    """The names that a model has for its classes or labels.

    Raises `DefinitionError` where there are not as many as columns of its predictions, or one comes twice.
    """
    attribute = "label_names" if hasattr(model, "label_names") else "class_names"
    given = getattr(model, attribute, None) or ()
    if isinstance(given, str):
        raise DefinitionError(
            f"{type(model).__name__}.{attribute} is {given!r}; it has to be a list of names, one for each"
        )
    names = tuple(map(str, given))
    for name in names:
        check_name(f"one of {type(model).__name__}.{attribute}", name)
        if names.count(name) > 1:
            raise DefinitionError(
                f"{type(model).__name__}.{attribute} has {name} {names.count(name)} times; metrics and "
                "report need another name for each"
            )
    if names and isinstance(y_pred, np.ndarray):
        one = y_pred.ndim == 1 or y_pred.shape[1] == 1
        count = 2 if one and attribute == "class_names" else int(np.prod(y_pred.shape[1:2]))
        if len(names) != count:
            raise DefinitionError(
                f"{type(model).__name__}.{attribute} has {len(names)} names, {', '.join(names)}, and y_pred "
                f"is of {count}; give one name for each"
            )
    return names


def _by_definition(model: Any, x: Any, y: Any, weight: Tensor | None = None) -> Evaluated:
    """One batch by the `eval_step` of a definition, whose loss is weighted by its rows."""
    model.engine.sample_weight = weight
    rows = length(y)
    given = model.engine.own(model, "eval_step", x, y)
    model.engine.noted = None
    return Evaluated(*model.engine.read(given, rows, "eval_step"))


def _check_finite(generator: Iterable[Any], y_true: Any, y_pred: Any) -> None:
    """Raise `DataError` where labels, and not the predictions, are why the loss of a set is not finite."""
    if not all(np.isfinite(leaf).all() for leaf in leaves(y_pred) if leaf.dtype.kind == "f"):
        return
    for leaf in leaves(y_true):
        strange = ~np.isfinite(leaf) if leaf.dtype.kind == "f" else np.zeros(leaf.shape, bool)
        if strange.any():
            row = int(strange.reshape(len(leaf), -1).any(axis=1).argmax())
            raise DataError(
                f"row {row} of the labels of {type(generator).__name__} holds {leaf[strange][0]}, and the "
                "loss of the set is not finite: correct the data, or leave missing labels out in compute_loss"
            )
