"""Members of one structure whose steps are computed together."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from helixband.nested import leaves, length, map_leaves
from helixband.randomness import derive_seed
from helixband.training import judge
from helixband.training.member import Batch, Member, StepResult
from helixband.training.meters import Loss
from helixband.training.parts.clip import clip_norms_of_rows, clip_values_of_rows, norms_of_rows
from helixband.training.parts.constrain import ConstrainRows
from helixband.training.parts.update import gradients_of
from helixband.training.steps.rows import Rows
from helixband.training.steps.stacked import StackedOptimizer, trained_names
from helixband.training.steps.template import Template, draw_masks
from helixband.training.steps.trying import Found


class Pack:
    """K members of one `pack_key`, their tensors together from when it is made until `close`.

    All their optimizers have the state of a step. `at_once` says whether one call computes all losses; else
    each member's own `compute_loss` gets what its network gave.
    """

    def __init__(self, members: Sequence[Member], template: Template, at_once: bool) -> None:
        self.members = list(members)
        self._models = [member.model for member in members]
        self._template, self._at_once = template, at_once
        first = self._models[0]
        parameters = [dict(model.network.named_parameters()) for model in self._models]
        trained = [name for group in trained_names(first) for name in group]
        self._trained = trained
        names = [*trained, *(name for name in parameters[0] if name not in trained)]
        self._parameters = Rows([{name: each[name].detach() for name in names} for each in parameters])
        self._optimizer = StackedOptimizer(self._models, self._parameters)
        self._inputs = {name: self._parameters.stacked(name).detach() for name in names}
        self._leaves = [self._inputs[name].requires_grad_() for name in trained]
        self._own_buffers = [dict(model.network.named_buffers()) for model in self._models]
        buffers = self._own_buffers
        self._buffers = {name: torch.stack([each[name] for each in buffers]) for name in buffers[0]}
        self._averages = self._make_averages(names)
        self._constrained = self._make_constraints(names)
        self._generators = [torch.Generator(first.device) for _ in members] if template.names else []
        self._seeds = [derive_seed(member.seed, "dropout") for member in members] if template.names else []
        self._shapes: dict[Any, list[list[torch.Size]]] = {}
        self._wants_y_pred = any(member.metrics is not None for member in members)
        self._before: dict[str, Tensor] = {}
        self._waiting = self._take_waiting(trained)

    def _take_waiting(self, trained: list[str]) -> Tensor | None:
        """The gradients of batches that wait for others of their step, (K, columns)."""
        if not self._models[0].engine.update.pending:
            return None
        networks = [model.network for model in self._models]
        found = [gradients_of([each.get_parameter(name) for name in trained]) for each in networks]
        return torch.stack([torch.cat([each.reshape(-1) for each in gradients]) for gradients in found])

    def _put_waiting(self, waiting: Tensor) -> None:
        for model, row in zip(self._models, waiting, strict=True):
            parameters = [model.network.get_parameter(name) for name in self._trained]
            parts = row.split([each.numel() for each in parameters])
            for parameter, part in zip(parameters, parts, strict=True):
                parameter.grad = part.view_as(parameter).clone()

    def _make_averages(self, names: list[str]) -> Rows | None:
        averages = [model.engine.average for model in self._models]
        if averages[0] is None or not averages[0].by_step:
            return None
        by_name = [average.by_name() for average in averages if average is not None]
        return Rows([{name: each[name] for name in names} for each in by_name])

    def _make_constraints(self, names: list[str]) -> ConstrainRows | None:
        constraints = tuple(self._models[0].engine.options.constraints)
        if not constraints:
            return None
        rows = self._parameters
        return ConstrainRows(constraints, self._models[0].network, rows.of(0), rows.matrix)

    @torch.no_grad()
    def close(self) -> None:
        """Give each member what it has learned."""
        self._parameters.write_back()
        self._optimizer.write_back()
        for number, buffers in enumerate(self._own_buffers):
            for name, stacked in self._buffers.items():
                buffers[name].copy_(stacked[number])
        if self._averages is not None:
            self._averages.write_back()
        if self._waiting is not None:
            self._put_waiting(self._waiting)

    def undo(self) -> None:
        """Forget a step that failed before its update."""
        self._buffers.update(self._before)

    def step(self, batches: Sequence[Batch]) -> list[StepResult | None]:
        """The step of each member that is counted already, its schedules set.

        Before the update it changes nothing that `undo` leaves.
        """
        self._before = {name: value.clone() for name, value in self._buffers.items()}
        losses, results = self.compute(batches)
        if self._models[0].engine.update.counts:
            gradients = self._accumulated(losses, results)
        else:
            gradients = self.gradients(losses)
        if gradients is not None:
            self._take_step(losses, gradients)
        return results

    def _accumulated(self, losses: Tensor, results: Sequence[StepResult | None]) -> Tensor | None:
        """The gradients of the batches of a step, once it is full; else they wait."""
        weights = [None if result is None else result.loss.weight for result in results]
        by = [1.0 if weight is None else weight for weight in weights]
        gradients = self.gradients(losses * torch.stack([torch.as_tensor(each).to(losses) for each in by]))
        self._waiting = gradients if self._waiting is None else self._waiting.add_(gradients)
        updates = [model.engine.update for model in self._models]
        if not all([update.add(weight) for update, weight in zip(updates, weights, strict=True)]):
            return None
        totals = torch.stack([torch.as_tensor(update.take_total()).to(losses) for update in updates])
        gradients, self._waiting = self._waiting.div_(totals[:, None]), None
        for model in self._models:
            model.engine.record.steps += 1
        return gradients

    @torch.no_grad()
    def _take_step(self, losses: Tensor, gradients: Tensor) -> None:
        times = [model.config.time for model in self._models]
        left_out = self._left_out(losses, gradients)
        self._change(gradients, times)
        self._optimizer.update(gradients)
        self._follow(times)
        for put_back in left_out:
            put_back()
        for member in self.members:
            if member.model.engine.schedules.by_step:
                with member.turn.without_numbers:
                    member.model.engine.schedules.step(member.model.scheduler)

    def _left_out(self, losses: Tensor, gradients: Tensor) -> list[Callable[[], None]]:
        """What puts back the members whose step is left out, as loss or gradients are not finite."""
        skips = [model.engine.update.skip for model in self._models]
        if skips[0] is None:
            return []
        left_out = ~(losses.isfinite() & norms_of_rows(gradients, "max").isfinite())
        for skip, each in zip(skips, left_out.unbind(), strict=True):
            skip.note_left_out(each)  # type: ignore[union-attr]
        rows = left_out.nonzero()[:, 0]
        if not len(rows):
            return []
        matrices = [self._parameters.matrix, *self._optimizer.matrices]
        matrices += [] if self._averages is None else [self._averages.matrix]
        pairs = [(matrix, matrix[rows]) for matrix in matrices]
        pairs += [(value, self._before[name][rows]) for name, value in self._buffers.items()]

        def put_back() -> None:
            for matrix, before in pairs:
                matrix[rows] = before
            self._optimizer.take_back(rows.tolist())
            for row in rows.tolist() if self._averages is not None else ():
                self._models[row].engine.average.count -= 1

        return [put_back]

    def trial(self, batches: Sequence[Batch]) -> list[Found]:
        """What the batches give without dropout; nothing of it is kept."""
        self._before = {name: value.clone() for name, value in self._buffers.items()}
        try:
            losses, results = self.compute(batches, without_dropout=True)
            gradients = self.gradients(losses).unbind()
            buffers = [
                {name: value[k] for name, value in self._buffers.items()} for k in range(len(gradients))
            ]
        finally:
            self.undo()
        if self._constrained is not None:
            with torch.no_grad():
                self._constrained.check()
        y_preds = [None if result is None else result.y_pred for result in results]
        return [Found(*each) for each in zip(losses.detach(), y_preds, buffers, gradients, strict=True)]

    def gradients(self, losses: Tensor) -> Tensor:
        """The gradients of each member's loss, (K, columns), given their losses (K,)."""
        found = torch.autograd.grad(losses.sum(), self._leaves)
        return torch.cat([each.reshape(len(self.members), -1) for each in found], 1)

    def compute(
        self, batches: Sequence[Batch], without_dropout: bool = False
    ) -> tuple[Tensor, list[StepResult | None]]:
        """The losses (K,), with their graph, and what a step gives for each member."""
        batch = stacked(batches)
        masks = [] if not self._template.names else self._masks(batches[0][0], without_dropout)
        if self._at_once:
            return self._losses_at_once(batch, masks)
        return self._losses_apart(batches, self._outputs(batch[0], masks))

    def _masks(self, x: Any, without_dropout: bool) -> list[list[Tensor]]:
        key = signature(x)
        if key not in self._shapes:
            tensors = {name: value[0] for name, value in self._inputs.items()}
            tensors |= {name: value[0].clone() for name, value in self._buffers.items()}
            self._shapes[key] = self._template.shapes(tensors, x)
        rates = [self._template.rates(model.network) for model in self._models]
        if without_dropout:
            rates = [[0.0] * len(each) for each in rates]
        for generator, seed, model in zip(self._generators, self._seeds, self._models, strict=True):
            generator.manual_seed((seed + model.engine.record.steps) % 2**63)
        return draw_masks(self._shapes[key], rates, self._generators, self._parameters.matrix)

    def _called(self, inputs: Any, buffers: Any, masks: Any, x: Any) -> Any:
        self._template.use(masks)
        return torch.func.functional_call(self._template.network, {**inputs, **buffers}, (x,))

    def _outputs(self, x: Any, masks: Any) -> Any:
        """What the networks give, (K, N, …)."""
        return torch.vmap(self._called)(self._inputs, self._buffers, masks, x)

    def _losses_at_once(self, batch: Any, masks: Any) -> tuple[Tensor, list[StepResult | None]]:
        model: Any = self._models[0]
        found: list[Any] = []

        def compute(inputs: Any, buffers: Any, masks: Any, x: Any, y: Any, weight: Any = None) -> Any:
            engine = model.engine
            engine.sample_weight, engine.noted = weight, None
            output = model.split_output(self._called(inputs, buffers, masks, x))
            loss, (y_pred, weighed) = judge.loss_of_output(model, output, y)
            parts = [] if weighed.parts is None else list(weighed.parts.values())
            weights = [weighed.weight, *(part.weight for part in parts)]
            found[:] = [weighed, weights]
            tensors = [part.value for part in parts], [each for each in weights if isinstance(each, Tensor)]
            return loss, *tensors, y_pred if self._wants_y_pred else loss.new_empty(0)

        model.engine.check_loss = False  # which looks at the numbers of one model
        model.engine.rows = length(map_leaves(lambda leaf: leaf[0], batch[1]))
        try:
            losses, parts, weights, y_pred = torch.vmap(compute)(self._inputs, self._buffers, masks, *batch)
        finally:
            model.engine.sample_weight = model.engine.noted = None
        weighed, each = found
        values, parts, weights = (
            losses.detach().unbind(),
            [p.detach().unbind() for p in parts],
            [w.unbind() for w in weights],
        )
        names = list(weighed.parts or ())
        results: list[StepResult | None] = []
        predicted = _rows_of(y_pred, len(self.members)) if self._wants_y_pred else [None] * len(self.members)
        for number in range(len(self.members)):
            tensors = iter(weights)
            own = [next(tensors)[number] if isinstance(weight, Tensor) else weight for weight in each]
            of_parts = {
                name: Loss(part[number], weight)
                for name, part, weight in zip(names, parts, own[1:], strict=True)
            }
            loss = Loss(values[number], own[0], of_parts or None)
            results.append(StepResult(loss, predicted[number]))
        return losses, results

    def _losses_apart(self, batches: Sequence[Batch], outputs: Any) -> tuple[Tensor, list[StepResult | None]]:
        losses: list[Tensor] = []
        results: list[StepResult | None] = []
        for number, (member, (_, y, *weight)) in enumerate(zip(self.members, batches, strict=True)):
            model, result = member.model, None
            with member.turn:
                model.engine.sample_weight = weight[0] if weight else None
                model.engine.rows = length(y)
                output = model.split_output(map_leaves(lambda leaf: leaf[number], outputs))  # type: ignore[attr-defined]  # noqa: B023
                loss, (y_pred, weighed) = judge.loss_of_output(model, output, y)
                model.engine.sample_weight = None
                value = weighed._replace(value=loss.detach())
                result = StepResult(value, map_leaves(Tensor.detach, y_pred))
            results.append(result)
            losses.append(next(leaves(outputs)).new_zeros(()) if result is None else loss)
        return torch.stack(losses), results

    def _numbers(self, name: str, times: Sequence[Any]) -> Tensor:
        """An option of each member at the moment, (K, 1)."""
        pairs = zip(self._models, times, strict=True)
        values = [float(model.engine.options.at(name, time)) for model, time in pairs]
        return self._tensor(np.array(values)[:, None])

    def _tensor(self, values: Any) -> Tensor:
        return torch.as_tensor(values).to(self._parameters.matrix)

    def _change(self, gradients: Tensor, times: Sequence[Any]) -> None:
        """What is done to the gradients before the update, as `before_update` has it."""
        options = self._models[0].engine.options
        if options.gradient_norm is not None and not (options.gradient_norm == "L2" and options.clip_norm):
            self._note(options.gradient_norm, norms_of_rows(gradients, options.gradient_norm))
        if options.clip_value is not None:
            clip_values_of_rows(gradients, self._numbers("clip_value", times))
        if options.clip_norm is not None:
            self._note("L2", clip_norms_of_rows(gradients, self._numbers("clip_norm", times)))

    def _note(self, kind: str, norms: Tensor) -> None:
        for model, norm in zip(self._models, norms.unbind(), strict=True):
            model.engine.norms.add(kind, norm)

    def _follow(self, times: Sequence[Any]) -> None:
        """What follows the update, as `after_update` has it."""
        if self._constrained is not None:
            self._constrained()
        if self._averages is not None:
            self._averages.matrix.lerp_(self._parameters.matrix, 1 - self._numbers("ema_decay", times))
            for model in self._models:
                model.engine.average.count += 1  # type: ignore[union-attr]


def signature(nested: Any) -> Any:
    """The shapes and types of nested tensors."""
    if isinstance(nested, Tensor):  # asked here, as it nearly always is one
        return nested.shape, nested.dtype
    if isinstance(nested, tuple):
        return tuple(map(signature, nested))
    found, spec = pytree.tree_flatten(nested)
    return spec, tuple((each.shape, each.dtype) if isinstance(each, Tensor) else each for each in found)


def stacked(batches: Sequence[Any]) -> Any:
    """Nested tensors of several members as one, (K, …)."""
    if isinstance(batches[0], Tensor):  # asked here, as it nearly always is one
        return torch.stack(list(batches))
    if type(batches[0]) is tuple:
        return tuple(stacked(each) for each in zip(*batches, strict=True))
    flat = [pytree.tree_flatten(each) for each in batches]
    tensors = [torch.stack(each) for each in zip(*(found for found, _ in flat), strict=True)]
    return pytree.tree_unflatten(tensors, flat[0][1])


def _rows_of(nested: Any, count: int) -> list[Any]:
    """What is (K, …) for each member, without its graph."""
    if isinstance(nested, Tensor):
        return list(nested.detach().unbind())
    return [map_leaves(lambda leaf: leaf[number].detach(), nested) for number in range(count)]  # noqa: B023
