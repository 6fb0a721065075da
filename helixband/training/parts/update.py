"""The update of a step: gradients of the loss, what is done to them, the optimizer's step, what follows."""

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C._autograd import _profiler_enabled
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from helixband.errors import DefinitionError, HelixbandWarning
from helixband.training import compiler
from helixband.training.distributed import Shared
from helixband.training.meters import Loss
from helixband.training.optimizers import Optimizers
from helixband.training.parts.skip import Kept, Skip

Compute = Callable[[], tuple[Tensor, Any]]
"""A loss, and what else is known of it."""
Part = Callable[[list[Tensor] | None], None]
"""What follows an update; it gets the parameters that were updated, or None for all of the network."""
OnGradients = Callable[[list[Tensor], tuple[int, int]], None]
"""Changes or measures the gradients of parameters, in this epoch and optimizer step, both from 0."""

_NOTING = Optimizer.profile_hook_step(lambda: None).__code__
"""Of the function in which torch puts the `step` of each of its optimizers."""


class Update:
    """The optimizer steps of a model, in the one order of their parts.

    Scale and backward, for each batch; then, for every `accumulate` batches: unscale, divide by the weight of
    the batches, `on_before_step`, the parts `before` the update, the update, and those `after` it.
    """

    def __init__(
        self,
        before: list[OnGradients],
        after: list[Part],
        accumulate: int = 1,
        scaler: GradScaler | None = None,
        calls_hook: bool = False,
        skip: Skip | None = None,
        several: bool = False,
        freezes: bool = False,
    ) -> None:
        self.after, self.skip = after, skip
        self.accumulate, self.scaler = accumulate, scaler
        self.pending = 0
        """Batches whose gradients wait for the next optimizer step."""
        self._does_more = bool(before or scaler or calls_hook or skip or several or accumulate > 1)
        """Whether something happens between backward and update."""
        self.counts = several or accumulate > 1
        """Whether it alone counts the optimizer steps, for not each batch is one."""
        self.ahead = False
        """Whether the next optimizer step is counted already."""
        self._by_parameter = several or freezes
        """Whether a step updates some parameters of the network alone."""
        self.share(None)
        self.was_called = False
        """Whether a step went through here, and not by other means of the definition."""
        self.waits = False
        """Whether there are gradients that no optimizer has had yet."""
        self.is_ever_full = False
        """Whether there was a step with as many batches as it takes."""
        self._backwards = self._steps = 0
        self._before, self._calls_hook = before, calls_hook
        self._is_added_up = False
        self._stepped: set[str | None] = set()
        """The names of the optimizers that have had the gradients."""
        self._weight: float | Tensor | None = None
        self._total: float | Tensor | None = None

    def __call__(self, model: Any, compute: Compute) -> tuple[Tensor, Any]:
        """Take a step down the loss that `compute` gives; what it gave at first.

        An optimizer whose `step` takes nothing less, such as LBFGS, gets a closure. It computes loss and
        gradients anew, as often as the optimizer calls it.
        """
        optimizer = model.optimizer
        kind: Any = type(optimizer)
        self.was_called = True
        if _needs_closure(kind):
            found = self._by_closure(model, optimizer, compute)
        elif self.is_plain:
            zero_grad(optimizer)
            found = compute()
            found[0].backward()  # type: ignore[no-untyped-call]
            if self.ahead:  # as in `_count`, without its call
                self.ahead = False
            else:
                model.engine.record.steps += 1
            _take_step(optimizer)
        else:
            self.begin_step(model)
            found = compute()
            self.backward(model, found[0])
            self.step(model)
            return found
        for part in self.after:
            part(None)
        return found

    def share(self, shared: Shared | None) -> None:
        """Add up losses and gradients of several processes; with None, of this one alone."""
        self.shared = shared
        self.needs_calls = self._does_more or shared is not None
        """Whether a step has to go through here, and not by other means of a definition."""
        self.is_plain = not (self.needs_calls or self._by_parameter)

    def begin_epoch(self) -> None:
        """Forget what an epoch left that did not come to its end."""
        self.pending, self._total = 0, None
        self._backwards = self._steps = 0

    def begin_step(self, model: Any) -> None:
        """Before the network sees a batch, which may be the first of a step."""
        if self.waits and self.accumulate > 1:
            raise DefinitionError(
                f"accumulate={self.accumulate} takes an optimizer step for so many batches, and train_step "
                "did not call self.optimizer_step() after the last: call it for each batch, or leave "
                "accumulate out"
            )
        if self.skip is not None and not self.pending and not self.waits:
            self.skip.begin(model.network)

    def end_epoch(self) -> None:
        """Warn where a `train_step` computed gradients in the whole epoch, and no optimizer had them."""
        if self._backwards and not self._steps:
            warnings.warn(
                f"train_step called self.backward(loss) {self._backwards} times in the epoch, and never "
                "self.optimizer_step(): nothing was trained",
                HelixbandWarning,
                stacklevel=2,
            )

    def backward(self, model: Any, loss: Tensor, retain_graph: bool = False) -> None:
        """Add the gradients of the loss of a batch to those of the batches that wait with it."""
        self.was_called = True
        self._backwards += 1
        weight = None
        if self.shared is not None:
            loss, weight, _ = self.shared.whole(_weighed(model.engine, loss))
        elif self.accumulate > 1 and not self.waits:
            weight = _weighed(model.engine, loss).weight
        if not self.waits:
            if not self.pending:
                zero_grad(model.optimizer)
                self._is_added_up = False
            elif not any(True for _ in _with_gradients(model.optimizer)):
                raise DefinitionError(
                    f"the gradients of the {self.pending} batches before are gone, which accumulate adds up: "
                    "leave zero_grad() out of train_step; self.backward(loss) clears them in time"
                )
            self._weight = weight if self.accumulate > 1 else None
            self.waits, self._stepped = True, set()
        if self.skip is not None:
            self.skip.see(loss)
        if self._weight is not None:
            loss = loss * self._weight
        if self.scaler is not None:
            loss = self.scaler.scale(loss)
        loss.backward(retain_graph=retain_graph)  # type: ignore[no-untyped-call]

    def step(self, model: Any, name: str | None = None) -> None:
        """Take the optimizer step, where as many batches wait as it takes; of several, one by its name."""
        if not self.waits and (name in self._stepped or not self._stepped):
            raise DefinitionError("optimizer_step() was called without backward(loss) before it")
        self.waits = False
        self._steps += 1
        self._stepped.add(name)
        if name is not None or isinstance(model.optimizer, Optimizers):
            self._step_one(model, name)
            return
        self.pending += 1
        if self._weight is not None:
            self._total = self._weight if self._total is None else self._total + self._weight
        if self.pending >= self.accumulate:
            self.is_ever_full = True
            self.finish(model)

    def add(self, weight: float | Tensor | None) -> bool:
        """Count a batch whose gradients, times its weight, are kept elsewhere; whether the step is full."""
        self.pending += 1
        if weight is not None:
            self._total = weight if self._total is None else self._total + weight
        is_full = self.pending >= self.accumulate
        self.is_ever_full = self.is_ever_full or is_full
        return is_full

    def take_total(self) -> float | Tensor:
        """What the gradients of the batches that were added are to be divided by; none waits any more."""
        total, self.pending, self._total = self._total, 0, None
        if isinstance(total, Tensor):
            return torch.where(total == 0, 1, total)
        return 1 if total is None else total

    def _add_up(self, optimizer: Any) -> None:
        """Add the gradients of the other processes, where there are some, once for all optimizers."""
        if self.shared is not None and not self._is_added_up:
            self._is_added_up = True
            self.shared.add_up(optimizer)

    def _step_one(self, model: Any, name: str | None) -> None:
        optimizers = model.optimizer
        if not isinstance(optimizers, Optimizers):
            raise DefinitionError(
                f"optimizer_step({name!r}): a name goes with optimizer= as a dict of several"
            )
        optimizer = optimizers.step() if name is None else optimizers[name]
        model.engine.norms.optimizer = name
        if name == optimizers.first:
            model.engine.record.steps += 1
        self._add_up(optimizers)
        self._update(model, optimizer, _with_gradients(optimizer))

    def finish(self, model: Any) -> None:
        """Take the optimizer step with what waits, which may be less than usual at the end of an epoch."""
        optimizer, total = model.optimizer, self._total
        self._add_up(optimizer)
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        parameters = _with_gradients(optimizer)
        if total is not None and parameters:
            total = torch.where(total == 0, 1, total) if isinstance(total, Tensor) else total
            torch._foreach_div_(gradients_of(parameters), torch.as_tensor(total, device=parameters[0].device))
        self.pending, self._total = 0, None
        self._count(model)
        self._update(model, optimizer, parameters)

    def _count(self, model: Any) -> None:
        if self.ahead:
            self.ahead = False
        else:
            model.engine.record.steps += 1

    def _update(self, model: Any, optimizer: Any, parameters: list[Tensor]) -> None:
        kept = None
        if self.skip is not None:
            is_taken = self.skip.decide(gradients_of(parameters))
            if is_taken.is_cuda and self.skip.has_stepped(parameters):
                average = model.engine.average
                kept = Kept(optimizer, average.tensors if average is not None else ())
            elif not is_taken:
                self.skip.put_back_unless(is_taken)
                if self.scaler is not None:
                    self.scaler.update()
                return
            else:
                self.skip.note(parameters)
        self._change(model, parameters)
        if self.scaler is not None:
            self.scaler.step(optimizer)
            self.scaler.update()
        else:
            _take_step(optimizer)
        stepped = parameters if self._by_parameter else None
        for part in self.after:
            part(stepped)
        if kept is not None and self.skip is not None:
            kept.put_back_unless(is_taken)
            self.skip.put_back_unless(is_taken)
        if self.skip is not None and model.engine.own_step:
            self.skip.begin(model.network)  # a batch may have another step

    def _change(self, model: Any, parameters: list[Tensor]) -> None:
        if self._calls_hook:
            model.on_before_step()
        for part in self._before:
            part(parameters, model.config.time)

    def _by_closure(self, model: Any, optimizer: Optimizer, compute: Compute) -> tuple[Tensor, Any]:
        given: list[tuple[Tensor, Any]] = []

        def closure() -> Tensor:
            zero_grad(optimizer)
            with torch.enable_grad():
                found = compute()
                loss = found[0]
                if self.shared is not None:
                    loss = self.shared.whole(_weighed(model.engine, loss)).value
                loss.backward()  # type: ignore[no-untyped-call]
            if self.shared is not None:
                self.shared.add_up(optimizer)
            if not self.is_plain:
                self._change(model, _with_gradients(optimizer))
            given.append(found)
            del given[1:]
            return loss

        self._count(model)
        try:
            optimizer.step(closure)  # type: ignore[arg-type]
        except Exception as error:
            error.add_note(f"in the step of the optimizer {type(optimizer).__name__}, which got a closure")
            raise
        return given[0]


def check_optimizer(optimizer: Any, update: Update, own_step: bool) -> None:
    """Raise `DefinitionError` for an optimizer that cannot take its steps so."""
    kind: Any = type(optimizer)
    if isinstance(optimizer, Optimizers):
        _check_several(optimizer, update, own_step)
    elif (
        optimizer is not None
        and _needs_closure(kind)
        and (update.accumulate > 1 or update.scaler or update.skip)
    ):
        what = "accumulate" if update.accumulate > 1 else "precision='16'" if update.scaler else "nan='skip'"
        raise DefinitionError(
            f"{type(optimizer).__name__} computes the loss of a step several times, which does not go with "
            f"{what}: choose another optimizer, or leave that out"
        )


def _check_several(optimizers: Optimizers, update: Update, own_step: bool) -> None:
    if update.accumulate > 1 or update.scaler is not None:
        what = "accumulate" if update.accumulate > 1 else "precision='16'"
        raise DefinitionError(
            f"{what} goes with one optimizer, and optimizer= is a dict of {optimizers.names}"
        )
    if not own_step:
        raise DefinitionError(
            f"optimizer= is a dict of {optimizers.names}, which a train_step(self, x, y) of your own has to "
            "step: self.backward(loss), and self.optimizer_step(name) with a name of these"
        )


def zero_grad(optimizer: Any) -> None:
    """Leave the parameters without gradients, as `optimizer.zero_grad()` does, in a tenth of its time."""
    kind: Any = type(optimizer)
    if kind.zero_grad is not Optimizer.zero_grad or "zero_grad" in vars(optimizer):
        optimizer.zero_grad()
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def _take_step(optimizer: Any) -> None:
    """`optimizer.step()`, without what torch does around it for profilers and hooks where there are none.

    That takes as long as a layer of a small network.
    """
    kind = type(optimizer)
    own = vars(optimizer).get("step")
    is_counted = hasattr(own, "_wrapped_by_lr_sched") and getattr(own, "__wrapped__", None) is kind.step
    is_noted = getattr(kind.step, "__code__", None) is _NOTING and (own is None or is_counted)
    is_noted = is_noted and kind._optimizer_step_code is Optimizer._optimizer_step_code
    try:
        if is_noted and not (_has_hooks(optimizer) or _profiler_enabled()):
            if is_counted:
                optimizer._opt_called = True  # all that a scheduler of torch wants to know
            compiler.take_step(kind.step.__wrapped__, optimizer)
        else:
            optimizer.step()
    except Exception as error:
        error.add_note(
            f"in the step of the optimizer {type(optimizer).__name__}; if it has to be called in another "
            "way, write a train_step(self, x, y) of your own, which returns (loss, y_pred)"
        )
        raise


def _has_hooks(optimizer: Any) -> bool:
    """Whether anything is to be called before or after its steps."""
    of_all = _global_optimizer_pre_hooks or _global_optimizer_post_hooks
    return bool(of_all or optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks)


def gradients_of(parameters: list[Tensor]) -> list[Tensor]:
    """The gradients of the parameters that have some."""
    return [each.grad for each in parameters if each.grad is not None]


def _with_gradients(optimizer: Any) -> list[Tensor]:
    groups = optimizer.param_groups
    return [each for group in groups for each in group["params"] if each.grad is not None]


def _weighed(engine: Any, loss: Tensor) -> Loss:
    """A batch's loss with its weight among others."""
    weighed: Loss | None = engine.weighed(loss)
    return Loss(loss, engine.share_of(loss)) if weighed is None else weighed


@functools.cache
def _needs_closure(kind: Any) -> bool:
    """Whether `step` of a kind of optimizer has a parameter without a default."""
    _, *parameters = inspect.signature(kind.step).parameters.values()
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(part.kind in named and part.default is inspect.Parameter.empty for part in parameters)
