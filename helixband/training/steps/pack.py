"""Members of one structure whose steps are computed together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from helixband.nested import leaves, length, map_leaves
from helixband.training import judge
from helixband.training.member import Batch, Member, StepResult
from helixband.training.meters import Loss
from helixband.training.parts.clip import clip_norms_of_rows, clip_values_of_rows, norms_of_rows
from helixband.training.parts.constrain import ConstrainRows
from helixband.training.steps.dropout import Dropout
from helixband.training.steps.numbers import Numbers, Read, Reading, Values, without_dropout
from helixband.training.steps.packable import has_library_loss
from helixband.training.steps.reads import runs_code
from helixband.training.steps.rows import Lent, Rows, give_back, give_gradients, waiting_gradients
from helixband.training.steps.stacked import StackedOptimizer, trained_names
from helixband.training.steps.stacks import of_one, split, stacked
from helixband.training.steps.template import Template
from helixband.training.steps.trying import Found


class Pack:
    """K members of one `pack_key`, their tensors together from when it is made until `close`.

    All their optimizers have the state of a step. `at_once` says whether one call computes all losses; else
    each member's own `compute_loss` gets what its network gave.
    """

    def __init__(self, members: Sequence[Member], template: Template, at_once: bool) -> None:
        self.template, self._at_once = template, at_once
        self.is_one_of_several = False
        """Whether one member is computed by torch.vmap, too, which refuses to tell Python its numbers."""
        self._set(members)
        first = self._models[0]
        parameters = [dict(model.network.named_parameters()) for model in self._models]
        trained = [name for group in trained_names(first) for name in group]
        self._trained = trained
        self._names = [*trained, *(name for name in parameters[0] if name not in trained)]
        self._parameters = Rows(self._own_parameters())
        self._optimizer = StackedOptimizer(self._models, self._parameters)
        self._inputs = {name: self._parameters.stacked(name).detach() for name in self._names}
        self._leaves = [self._inputs[name].requires_grad_() for name in trained]
        self._buffers = {
            name: torch.stack([each[name].detach() for each in self._own_buffers])
            for name in self._own_buffers[0]
        }
        self._lend_buffers()
        averages = self._own_averages()
        self._averages = Rows(averages) if averages else None
        self.read = Read(members, self._optimizer, template, self._averages is not None)
        self._constrained = self._make_constraints()
        self.dropout = Dropout(template, self._tensors_of_one)
        self._may_read_itself = not all(has_library_loss(member) for member in members)
        self._before: dict[str, Tensor] = {}
        self._waiting = waiting_gradients(self._models, trained)
        self._last: Tensor | None = None
        """The gradients of the last step, (K, columns), as they were updated by."""
        self._of_blocks: Tensor | None = None
        """The place where steps of blocks leave theirs."""

    def _set(self, members: Sequence[Member]) -> None:
        self.members = list(members)
        self._models = [member.model for member in members]
        self.wants_y_pred = any(member.metrics is not None for member in members)
        self._own_buffers = [dict(model.network.named_buffers()) for model in self._models]
        self._shows = any(map(runs_code, members))
        """Whether code that runs between steps may read gradients."""

    @torch.no_grad()
    def open(self, members: Sequence[Member]) -> None:
        """Take as many other members of the same `pack_key`, their tensors where those before had theirs."""
        self._set(members)
        self._parameters.take(self._own_parameters())
        self._optimizer.take(self._models)
        for name, value in self._buffers.items():
            for row, buffers in zip(value, self._own_buffers, strict=True):
                row.copy_(buffers[name])
        self._lend_buffers()
        if self._averages is not None:
            self._averages.take(self._own_averages())
        self.read = Read(members, self._optimizer, self.template, self._averages is not None)
        self._waiting = waiting_gradients(self._models, self._trained)

    def _lend_buffers(self) -> None:
        self._lent = [
            Lent(each[name], row)
            for name, value in self._buffers.items()
            for each, row in zip(self._own_buffers, value.unbind(), strict=True)
        ]

    def _own_parameters(self) -> list[dict[str, Tensor]]:
        found = [dict(model.network.named_parameters()) for model in self._models]
        return [{name: each[name] for name in self._names} for each in found]

    def _own_averages(self) -> list[dict[str, Tensor]]:
        averages = [model.engine.average for model in self._models]
        if averages[0] is None or not averages[0].by_step:
            return []
        by_name = [average.by_name() for average in averages if average is not None]
        return [{name: each[name] for name in self._names} for each in by_name]

    def _make_constraints(self) -> ConstrainRows | None:
        constraints = tuple(self._models[0].engine.options.constraints)
        if not constraints:
            return None
        rows = self._parameters
        return ConstrainRows(constraints, self._models[0].network, rows.of(0), rows.matrix)

    @torch.no_grad()
    def close(self) -> None:
        """Give each member what it has learned, and let go of it."""
        self._parameters.write_back()
        self._optimizer.write_back()
        give_back(self._lent)
        if self._averages is not None:
            self._averages.write_back()
        gradients = self._last if self._waiting is None else self._waiting
        if gradients is not None:
            give_gradients(self._models, self._trained, gradients.clone())
        self._before, self._waiting, self._last, self._lent = {}, None, None, []
        self._set(())
        del self.read  # which holds the models

    @property
    def tensors(self) -> list[Tensor]:
        """All that a step changes."""
        return [*self._matrices, *self._buffers.values()]

    @property
    def _matrices(self) -> list[Tensor]:
        averages = [] if self._averages is None else [self._averages.matrix]
        return [self._parameters.matrix, *self._optimizer.matrices, *averages]

    @torch.no_grad()
    def undo(self) -> None:
        """Forget a step that failed before its update."""
        for name, value in self._before.items():
            self._buffers[name].copy_(value)

    def step(self, batches: Sequence[Batch]) -> list[StepResult | None]:
        """The step of each member that is counted already, its schedules set.

        Before the update it changes nothing that `undo` leaves.
        """
        self._before = {name: value.clone() for name, value in self._buffers.items()}
        self._last = None  # for whose memory there will be others
        values, keys = self.numbers([self.read.now()], 1).of(0)
        losses, results = self.compute(batches, values, keys)
        if self._models[0].engine.update.counts:
            gradients = self._accumulated(losses, results)
        else:
            gradients = self.gradients(losses)
        if gradients is not None:
            self._take_step(losses, gradients, values)
        return results

    def numbers(self, readings: Sequence[Reading], count: int) -> Numbers:
        """As `Read.numbers`."""
        return self.read.numbers(readings, count, self._parameters.matrix)

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
    def _take_step(self, losses: Tensor, gradients: Tensor, values: Values) -> None:
        left_out = self._left_out(losses, gradients)
        self.note(self.update(gradients, values))
        self.count(1)
        for put_back in left_out:
            put_back()
        self._last = gradients
        if self._shows:
            give_gradients(self._models, self._trained, gradients)
        self.step_schedulers()

    def count(self, steps: int) -> None:
        """Count steps that were taken."""
        self._last = self._of_blocks
        self._optimizer.count(steps)
        for model in self._models if self._averages is not None else ():
            model.engine.average.count += steps  # type: ignore[union-attr]

    def step_schedulers(self) -> None:
        """Step the schedulers that go by steps, after a step."""
        for member in self.members:
            if member.model.engine.schedules.by_step:
                optimizer: Any = member.model.optimizer
                optimizer._opt_called = True  # all that a scheduler of torch wants to know
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
        pairs = [(matrix, matrix[rows]) for matrix in self._matrices]
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
            values, keys = self.numbers([self.read.now()], 1).of(0)
            losses, results = self.compute(batches, *without_dropout(values, keys))
            gradients = self.gradients(losses).unbind()
            buffers = [
                {name: value[k].clone() for name, value in self._buffers.items()}
                for k in range(len(gradients))
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
        if self._may_read_itself:
            return self._gradients_of_all(losses)
        found = torch.autograd.grad(_together(losses), self._leaves)
        return torch.cat([each.reshape(len(self.members), -1) for each in found], 1)

    def _gradients_of_all(self, losses: Tensor) -> Tensor:
        """As `gradients`, where a loss may also read the network itself, as one with a penalty on weights."""
        networks, count = [model.network for model in self._models], len(self._leaves)
        own = [network.get_parameter(name) for network in networks for name in self._trained]
        found = torch.autograd.grad(_together(losses), [*self._leaves, *own], allow_unused=True)
        if None in found[:count]:
            raise RuntimeError(f"the parameter {self._trained[found.index(None)]} gets no gradient")
        reads = [each is not None for each in found[count:]]
        if any(reads) and self._at_once and len(networks) > 1:
            raise RuntimeError("the criterion reads the network of one member")
        rows = torch.cat([each.reshape(len(networks), -1) for each in found[:count]], 1)
        if not any(reads):
            return rows
        each_own = zip(found[count:], own, strict=True)
        flat = [(torch.zeros_like(of) if each is None else each).reshape(-1) for each, of in each_own]
        return rows + torch.cat(flat).view_as(rows)

    def compute(
        self, batches: Sequence[Batch], values: Values, keys: Tensor
    ) -> tuple[Tensor, list[StepResult | None]]:
        """The losses (K,), with their graph, and what a step gives for each member."""
        batch = stacked(batches)
        masks = self.dropout.draw(batch[0], values, keys)
        if not self._at_once:
            return self._losses_apart(batches, self._outputs(batch[0], masks))
        losses, result = self._losses_at_once(batch, masks)
        return losses, list(split(result, len(self.members)))

    def whole_step(self, batch: Any, values: Values, masks: Tensor) -> tuple[StepResult, dict[str, Tensor]]:
        """The step of all members on their batches (K, N, …), without anything that is not on the device.

        `masks` are those of `dropout`. What it gives, (K, …), and the norms of gradients by kind, (K,).
        """
        losses, result = self._losses_at_once(batch, masks)
        norms = self.update(gradients := self.gradients(losses), values)
        if self._of_blocks is None:
            self._of_blocks = torch.empty_like(gradients)
        self._of_blocks.copy_(gradients)
        return result, norms

    def _tensors_of_one(self) -> dict[str, Tensor]:
        """Tensors with which the network can be called, which may change them."""
        found = {name: value[0] for name, value in self._inputs.items()}
        return found | {name: value[0].clone() for name, value in self._buffers.items()}

    def _called(self, inputs: Any, buffers: Any, masks: Any, x: Any) -> Any:
        self.template.use(masks)
        return torch.func.functional_call(self.template.network, {**inputs, **buffers}, (x,))

    def _for_all(self, compute: Callable[..., Any], *given: Any) -> Any:
        """What a computation for one member gives for all of them, (K, …), with what each is given."""
        vmaps = len(self.members) > 1 or self.is_one_of_several
        return torch.vmap(compute)(*given) if vmaps else of_one(compute, given)

    def _outputs(self, x: Any, masks: Tensor) -> Any:
        """What the networks give, (K, N, …)."""
        return self._for_all(self._called, self._inputs, self._buffers, self.dropout.cut(x, masks), x)

    def _losses_at_once(self, batch: Any, masks: Tensor) -> tuple[Tensor, StepResult]:
        """The losses with their graph, and all that the step gives, (K, …)."""
        model: Any = self._models[0]
        found: list[Any] = []

        def compute(inputs: Any, buffers: Any, masks: Any, x: Any, y: Any, weight: Any = None) -> Any:
            engine = model.engine
            engine.sample_weight, engine.noted = weight, None
            output = model.split_output(self._called(inputs, buffers, masks, x))
            loss, (y_pred, weighed) = judge.loss_of_output(model, output, y)
            parts = weighed.parts or {}
            weights = {name: part.weight for name, part in (("", weighed), *parts.items())}
            found[:] = [weights]
            tensors = {name: each for name, each in weights.items() if isinstance(each, Tensor)}
            return (
                loss,
                {name: part.value for name, part in parts.items()},
                tensors,
                (y_pred if self.wants_y_pred else loss.new_empty(0)),
            )

        model.engine.check_loss = False  # which looks at the numbers of one model
        model.engine.rows = length(map_leaves(lambda leaf: leaf[0], batch[1]))
        try:
            of_layers = self.dropout.cut(batch[0], masks)
            given = self._inputs, self._buffers, of_layers, *batch
            losses, parts, tensors, y_pred = self._for_all(compute, *given)
        finally:
            model.engine.sample_weight = model.engine.noted = None
        weights = found[0] | tensors
        of_parts = {name: Loss(value.detach(), weights[name]) for name, value in parts.items()}
        loss = Loss(losses.detach(), weights[""], of_parts or None)
        predicted = pytree.tree_map(Tensor.detach, y_pred) if self.wants_y_pred else None
        return losses, StepResult(loss, predicted)

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

    @torch.no_grad()
    def update(self, gradients: Tensor, values: Values) -> dict[str, Tensor]:
        """Clip the gradients, update, and what follows; the norms by kind, (K,)."""
        norms = self._change(gradients, values)
        self._optimizer.update(gradients, values)
        if self._constrained is not None:
            self._constrained()
        if self._averages is not None:
            self._averages.matrix.lerp_(self._parameters.matrix, 1 - values["ema_decay"])
        return norms

    def _change(self, gradients: Tensor, values: Values) -> dict[str, Tensor]:
        """What is done to the gradients before the update, as `before_update` has it."""
        options = self._models[0].engine.options
        norms: dict[str, Tensor] = {}
        if options.gradient_norm is not None and not (options.gradient_norm == "L2" and options.clip_norm):
            norms[options.gradient_norm] = norms_of_rows(gradients, options.gradient_norm)
        if options.clip_value is not None:
            clip_values_of_rows(gradients, values["clip_value"])
        if options.clip_norm is not None:
            norms["L2"] = clip_norms_of_rows(gradients, values["clip_norm"])
        return norms

    def note(self, norms: Mapping[str, Tensor]) -> None:
        """Keep the norms of a step for the columns of the epoch."""
        for kind, each in norms.items():
            for model, norm in zip(self._models, each.unbind(), strict=True):
                model.engine.norms.add(kind, norm)


def _together(losses: Tensor) -> Tensor:
    """Their sum, whose gradients are those of each. torch imports sympy for gradients of several numbers."""
    return losses.sum() if len(losses) > 1 else losses.squeeze(0)
