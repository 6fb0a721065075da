"""The stepper that takes the steps of members of one structure together."""

import contextlib
import functools
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch

from helixband.errors import DefinitionError, first_line
from helixband.training import precision
from helixband.training.hooks import prepared
from helixband.training.member import Batch, Member, StepResult
from helixband.training.steps.described import Itself, described
from helixband.training.steps.eager import Eager, labelled, step_of
from helixband.training.steps.keys import PackKeys
from helixband.training.steps.pack import Pack
from helixband.training.steps.packable import (
    cannot_pack,
    has_dropout,
    has_our_loss,
    of_iterator,
    shares_no_step,
)
from helixband.training.steps.stacked import counts_apart, without_gradient
from helixband.training.steps.stacks import signature
from helixband.training.steps.template import Templates
from helixband.training.steps.trying import (
    COUNTS_APART,
    Found,
    Tried,
    choose_convolution,
    difference,
    left_as_it_was,
    needs_own_step,
    of_no_gradient,
    own_pass,
)
from helixband.training.steps.watch import Watch, WatchOptimizer, watches_of
from helixband.training.way import Way

Tell = Callable[[Member, str], None]


class Packed(Eager):
    """Takes the steps of members of one structure together, and as `Eager` those of others.

    Any member may join. `alone` says why one is trained alone; `tell` gets a member and the reason when it is
    found. `tell_apart` gets, once, a reason why losses are computed member by member. Where memory does not
    suffice, packs have from then on at most half as many members, `limit`.
    """

    _takes_one = False

    def __init__(self, tell: Tell | None = None, tell_apart: Callable[[str], None] | None = None) -> None:
        super().__init__()
        self.alone: WeakKeyDictionary[Member, str] = WeakKeyDictionary()
        self.limit: int | None = None
        self._tell, self._tell_apart = tell, tell_apart
        self._keys = PackKeys()
        self._criteria: WeakKeyDictionary[Member, Hashable] = WeakKeyDictionary()
        """What is equal where the criteria of members compute the same."""
        self._single: WeakKeyDictionary[Member, bool] = WeakKeyDictionary()
        self._tried = Tried()  # by key and criterion
        self._watches: dict[Member, list[Watch | WatchOptimizer]] = {}
        """Of an epoch under way."""
        self._moving: WeakSet[Member] = WeakSet()
        """The members whose criterion changes as it is called."""
        self._templates = Templates()  # by structure and number of members
        self._apart: dict[Hashable, str] = {}
        """The structures whose losses are computed member by member, and why."""
        self._told_apart: set[str] = set()
        self._ready: WeakSet[Member] = WeakSet()
        self._first: WeakKeyDictionary[Member, int] = WeakKeyDictionary()
        """The steps that a member had as the first of an epoch was found to be its own."""
        self._packs: list[Pack] = []
        self._begun: dict[Member, Any] = {}
        """The members whose step under way has begun, with the labels that they were given for it."""

    def join(self, member: Member) -> None:
        super().join(member)
        self._keys.forget(member)  # what is done at the end of an epoch may change a network
        self._single[member] = shares_no_step(member) is not None
        is_own = member in self._moving
        self._criteria[member] = Itself(member) if is_own else described(member.model.criterion)
        if member not in self.alone and (reason := cannot_pack(member, self._takes_one)) is not None:
            self._leave_out(member, reason)

    def leave(self, member: Member) -> None:
        self._ready.discard(member)
        self._first.pop(member, None)
        self._watches.pop(member, None)
        self._close([member])
        super().leave(member)

    def way(self, member: Member) -> Way:
        return Way.ALONE if member in self.alone else Way.PACKED

    def step(self, batches: Sequence[Batch]) -> list[StepResult | None]:
        results = self._step_of(dict(zip(self._members, batches, strict=True)))
        return [results[member] for member in self._members]

    def _step_of(self, pairs: dict[Member, Batch]) -> dict[Member, StepResult | None]:
        """A step of some members, given their batches."""
        results: dict[Member, StepResult | None] = dict.fromkeys(pairs)
        self._begun = {}
        for member in list(pairs):
            if member not in self.alone and self._is_ready(member):
                with member.turn if member.model.engine.own_prepare else member.turn.without_numbers:
                    pairs[member] = self._prepared(member, *pairs[member])
                if member.ended is not None:
                    del pairs[member]
                elif (what := self._changed(member)) is not None:
                    self._leave_out(member, f"its {what} changes between the steps of an epoch")
        for members in self._groups(pairs):
            results |= self._step_of_group(members, pairs)
        begun, self._begun = self._begun, {}
        return {member: labelled(each, begun.get(member)) for member, each in results.items()}

    def _is_ready(self, member: Member) -> bool:
        """Whether there is all that the steps of an epoch change: it takes its next step with others."""
        if member in self._ready:
            return True
        if needs_own_step(member):
            steps = member.model.engine.record.steps
            is_taken = steps > self._first.setdefault(member, steps)
            if is_taken and (name := without_gradient(member.model)) is not None:
                self._leave_out(member, of_no_gradient(name))
            return False
        self._ready.add(member)
        if member in self._tried and counts_apart(member.model):  # as of a layer that is trained again
            self._leave_out(member, COUNTS_APART)
        return True

    def _changed(self, member: Member) -> str | None:
        """What has changed, by which steps are computed, since the epoch began."""
        if member not in self._watches:
            self._watches[member] = watches_of(member, member not in self._moving)
        return next(filter(None, [each.changed() for each in self._watches[member]]), None)

    def _begin(self, member: Member) -> None:
        """What comes before a step, as in `step_of`."""
        model, engine = member.model, member.model.engine
        record, schedules = engine.record, engine.schedules
        if not schedules.empty and model.optimizer is not None:
            schedules.set(model.optimizer, record.epoch, record.steps)
        model.config.set_time(record.epoch, record.steps)
        record.steps += not engine.update.counts

    def _prepared(self, member: Member, x: Any, y: Any, *weight: Any) -> Batch:
        """The batch of a step that begins."""
        self._begin(member)
        self._begun[member] = None
        if member.model.engine.own_prepare:
            x, y = prepared(member.model, x, y, *weight)
            self._begun[member] = y
        return x, y, *weight

    def _groups(self, pairs: dict[Member, Batch]) -> Iterator[list[Member]]:
        """The members that take a step together, those alone among them."""
        groups: dict[Hashable, list[Member]] = {}
        for member, batch in pairs.items():
            if member not in self._begun or member in self.alone:
                yield [member]
                continue
            pending = member.model.engine.update.pending
            groups.setdefault((self._keys.of(member), signature(batch), pending), []).append(member)
        for members in groups.values():
            yield from self._cut(members)

    def _cut(self, members: list[Member]) -> Iterator[list[Member]]:
        """As many at a time as memory suffices for."""
        size = 1 if self._single[members[0]] else self.limit or len(members)
        return (members[start : start + size] for start in range(0, len(members), size))

    def _step_of_group(
        self, members: list[Member], pairs: dict[Member, Batch]
    ) -> dict[Member, StepResult | None]:
        """The step of members of one structure, or of one alone."""
        if self._goes_alone(members):
            return self._eagerly(members, pairs)
        try:
            if self._untried(members, pairs):
                return self._try(members, pairs)
            return self._together(members, pairs)
        except torch.OutOfMemoryError:
            pass
        size = self._halve(members)
        if len(members) == 1:
            return self._eagerly(members, pairs)
        return self._step_of_group(members[:size], pairs) | self._step_of_group(members[size:], pairs)

    def _halve(self, members: list[Member]) -> int:
        """Have packs at most half as many members, as memory does not suffice for these; how many."""
        size = -(-len(members) // 2)
        self.limit = min(size, self.limit or size)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return size

    def _goes_alone(self, members: list[Member]) -> bool:
        """Whether it is one member, which is not packed."""
        is_left_out = members[0] not in self._begun or members[0] in self.alone
        return len(members) == 1 and (is_left_out or self._goes_by_itself(members))

    def _goes_by_itself(self, members: list[Member]) -> bool:
        """Whether it is one member that needs no pack; one with dropout does, for its masks."""
        return not self._takes_one and len(members) == 1 and not has_dropout(members[0].model.network)

    def _eagerly(self, members: list[Member], pairs: dict[Member, Batch]) -> dict[Member, StepResult | None]:
        """Each by itself, in its turn."""
        self._close(members)
        results: dict[Member, StepResult | None] = dict.fromkeys(members)
        for member in members:
            if is_begun := member in self._begun:
                member.record.steps -= not member.model.engine.update.counts  # which it counts itself
            with member.turn:
                x, y, weight = (*pairs[member], None)[:3]
                results[member] = step_of(member, x, y, weight, is_begun)
        return results

    def _together(self, members: list[Member], pairs: dict[Member, Batch]) -> dict[Member, StepResult | None]:
        try:
            results = self._pack(members).step([pairs[member] for member in members])
        except Exception as error:
            for pack in self._packs:
                if pack.members == members:
                    pack.undo()
            self._close(members)
            if isinstance(error, torch.OutOfMemoryError):
                raise
            found = self._eagerly(members, pairs)
            if all(member.ended is None for member in members):  # none of them is guilty alone
                for member in members:
                    self._leave_out(member, f"a step of several failed: {type(error).__name__}: {error}")
            return found
        return dict(zip(members, results, strict=True))

    def _try(self, members: list[Member], pairs: dict[Member, Batch]) -> dict[Member, StepResult | None]:
        """The step of members of which some are new: each is compared with its own network before."""
        results: dict[Member, StepResult | None] = dict.fromkeys(members)
        with precision.single():
            own = {member: self._own(member, pairs[member]) for member in self._untried(members, pairs)}
            if None in own.values():  # for which others stand no longer
                own |= {each: self._own(each, pairs[each]) for each in members if each not in own}
            groups: dict[Hashable, list[Member]] = {}
            for member in members:
                if member not in self.alone and member.ended is None:
                    groups.setdefault(self._keys.of(member), []).append(member)
            packed: list[list[Member]] = []
            alone: list[Member] = []
            for chosen in groups.values():
                if self._goes_alone(chosen):  # it is yet to be compared with a pack
                    alone += chosen
                    continue
                found = {member: each for member in chosen if (each := own.get(member)) is not None}
                while chosen and (reasons := self._differing(chosen, found, pairs)):  # others may differ then
                    for member, reason in reasons.items():
                        self._leave_out(member, reason)
                        del found[member]
                    chosen = [each for each in chosen if each not in self.alone]
                packed.append(chosen)
                for member, each in found.items():
                    shape = signature(pairs[member])
                    self._tried.note(member, self._kind(member), len(chosen) > 1, shape, each)
        for chosen in filter(None, packed):
            self._decide(chosen, pairs)
        alone += [each for each in members if each in self.alone and each.ended is None]
        results |= self._eagerly(alone, pairs)
        for chosen in filter(None, packed):
            results |= self._step_of_group(chosen, pairs)
        return results

    def _untried(self, members: list[Member], pairs: dict[Member, Batch]) -> list[Member]:
        """As `Tried.lacking`, given batches of one shape."""
        return self._tried.lacking(members, self._kind, len(members) > 1, signature(pairs[members[0]]))

    def _is_tried(self, member: Member, of_several: bool, shape: Hashable) -> bool:
        """As `Tried.has`, of what a member is now."""
        return self._tried.has(member, self._kind(member), of_several, shape)

    def _kind(self, member: Member) -> tuple[int, Hashable]:
        return self._keys.of(member), self._criteria[member]

    def _own(self, member: Member, batch: Batch) -> Found | None:
        """What the own network of a new member makes of its batch; None where it goes alone."""
        found: Found | str = ""
        with member.turn:
            if kind := self._keys.variables(member).iterator:
                found = of_iterator(kind)
            elif counts_apart(member.model):
                found = COUNTS_APART
            else:
                found = own_pass(member, batch, self._keys.variables(member))
        if isinstance(found, str):
            if found:
                self._leave_out(member, found)
            return None
        self._keys.note(member, found.configuration)
        if found.moves_criterion and member not in self._moving:
            self._moving.add(member)
            self._criteria[member] = Itself(member)
            self._watches.pop(member, None)
        return found

    def _differing(
        self, members: list[Member], own: dict[Member, Found], pairs: dict[Member, Batch]
    ) -> dict[Member, str]:
        """Why members cannot be packed, by what their own networks found; {} where all can."""
        key = self._keys.of(members[0])
        reasons: dict[Member, str] = {}
        if not all(has_our_loss(member) for member in members):
            kind = type(members[0].model).__name__
            self._apart.setdefault(key, f"{kind} has a compute_loss or split_output of its own")
        for apart in (False, True):
            if apart:
                self._apart.setdefault(key, next(iter(reasons.values()), ""))
            elif key in self._apart:
                continue
            self._close(members)
            reasons = {}
            try:
                found = self._trial(members, pairs)
            except Exception as error:
                self._close(members)
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                told = first_line(error).partition(" Please file an issue")[0]
                if not isinstance(error, DefinitionError):
                    told = f"torch.func refuses it: {type(error).__name__}: {told}"
                reasons = dict.fromkeys(own, told)
            else:
                for member, packed in zip(members, found, strict=True):
                    scale = self._tried.scale(member)
                    if member in own and (reason := difference(own[member], packed, scale)) is not None:
                        reasons[member] = reason
            if not reasons:
                break
        if not reasons and len(members) > 1:
            self._tell_of_apart(self._apart.get(key))
        return reasons

    def _tell_of_apart(self, reason: str | None) -> None:
        """Say once why losses are computed member by member."""
        if reason is not None and reason not in self._told_apart:
            self._told_apart.add(reason)
            if self._tell_apart is not None:
                self._tell_apart(reason)

    def _trial(self, members: list[Member], pairs: dict[Member, Batch]) -> list[Found]:
        """What a pack makes of the batches, nothing of which is kept."""
        pack = self._pack(members)
        with contextlib.ExitStack() as kept:
            for member in members:
                kept.enter_context(left_as_it_was(member, self._keys.variables(member)))
            return pack.trial([pairs[member] for member in members])

    def _decide(self, members: list[Member], pairs: dict[Member, Batch]) -> None:
        """Time both ways of convolutions on a GPU, once a structure; on a CPU torch's own is faster."""
        template = self._pack(members).template
        if template.is_undecided and members[0].model.device.type == "cuda":
            choose_convolution(template, functools.partial(self._trial, members, pairs))

    def _leave_out(self, member: Member, reason: str) -> None:
        self.alone[member] = reason
        if self._tell is not None:
            self._tell(member, reason)

    def _pack(self, members: list[Member]) -> Pack:
        """The pack of these members, which are in no other then."""
        for pack in self._packs:
            if pack.members == members:
                return pack
        self._close(members)
        pack = self._made(members)
        self._packs.append(pack)
        return pack

    def _made(self, members: list[Member]) -> Pack:
        """A pack of these members."""
        kind = self._keys.of(members[0]), len(members)
        reads = (name for name, _ in self._keys.configuration(members[0]))
        template = self._templates.of(kind, members[0].model.network, reads)
        return Pack(members, template, self._at_once(members))

    def _at_once(self, members: list[Member]) -> bool:
        """Whether one criterion gives the losses of all of them."""
        criteria = {self._criteria[member] for member in members}
        return len(criteria) == 1 and self._keys.of(members[0]) not in self._apart

    def _end(self, pack: Pack) -> None:
        """Have the members of a pack get what they have learned."""
        pack.close()

    def _close(self, members: list[Member]) -> None:
        """End the packs which any of these is in."""
        for pack in [pack for pack in self._packs if any(member in pack.members for member in members)]:
            self._packs.remove(pack)
            self._end(pack)
