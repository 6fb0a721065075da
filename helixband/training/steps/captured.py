"""The stepper that captures the steps of members on a GPU, and takes many at a time."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from weakref import WeakKeyDictionary

import torch

from helixband.errors import first_line
from helixband.training.ended import lost_device
from helixband.training.graphs import CaptureError
from helixband.training.member import Batch, Member, StepResult
from helixband.training.steps.block import MOST, Block
from helixband.training.steps.numbers import Numbers, Reading
from helixband.training.steps.pack import Pack
from helixband.training.steps.packable import cannot_capture
from helixband.training.steps.packed import Packed, Tell
from helixband.training.steps.reads import holds_model, may_look, scheduler_may_look
from helixband.training.steps.stacked import may_begin_momentum
from helixband.training.steps.stacks import signature
from helixband.training.steps.taking import Copy, Steps, computed, copy_of
from helixband.training.steps.trying import changed_name
from helixband.training.way import Way

IDLE = 16
"""So many packs without members are kept, with their blocks, for others of their structures."""
KINDS = 8
"""So many blocks of a pack are kept, for batches of other shapes or other criteria: those used last."""


class Captured(Packed):
    """Takes the steps of members as `Packed`, those of a lone member too, and many in one block.

    What a block needs is made once for a structure and a number of members, and used by all others of them.
    Unless `takes_one`, a lone member takes its steps as with `Packed`: by itself where it has no dropout.
    `uncaptured` says why the steps of a member are computed one by one, which `tell_uncaptured` gets, too.
    """

    def __init__(
        self,
        tell: Tell | None = None,
        tell_uncaptured: Tell | None = None,
        tell_apart: Callable[[str], None] | None = None,
        takes_one: bool = True,
    ) -> None:
        super().__init__(tell, tell_apart)
        self._takes_one = takes_one
        self._tell_uncaptured = tell_uncaptured
        self.uncaptured: WeakKeyDictionary[Member, str] = WeakKeyDictionary()
        self._blocks: dict[Pack, dict[tuple[Hashable, ...], Block]] = {}
        """Those of each pack, by what they are for: the shapes of batches and the criterion come first."""
        self._at_first: WeakKeyDictionary[Member, Mapping[str, Hashable]] = WeakKeyDictionary()
        """The variables that the networks of members read, as they are at the beginning of an epoch."""
        self._epochs: WeakKeyDictionary[Member, int] = WeakKeyDictionary()
        """How many epochs of each member have begun."""
        self._idle: dict[Pack, tuple[Hashable, int]] = {}
        """The structure and number of each pack without members, in the order in which these left."""

    def join(self, member: Member) -> None:
        super().join(member)
        if member in self.alone:
            return
        variables = self._keys.variables(member)
        self._at_first[member] = variables.described()
        self._epochs[member] = self._epochs.get(member, 0) + 1
        reason = cannot_capture(member)
        if reason is None and (variables.sees_model or holds_model(member.model.network)):
            reason = "its network or loss can read the model, which changes"
        if reason is None and may_look(member):
            reason = "the code that reads its batches can look at the model, so that none is read ahead"
        if reason is None and scheduler_may_look(member):
            reason = "its scheduler, which steps within an epoch, calls code that can look at the network"
        if reason is None and may_begin_momentum(member.model):
            reason = "its scheduler, which steps within an epoch, may begin a momentum that is 0"
        if reason is not None:
            self._compute_each(member, reason)

    def way(self, member: Member) -> Way:
        return Way.CAPTURED if self._may_be_captured(member) else super().way(member)

    in_blocks = True

    @property
    def at_once(self) -> int:
        """One as long as no block can be taken: a step may draw random numbers, as may reading a batch.

        So may the steps of those that are never taken in blocks, whose code may also look at the model.
        """
        if not self._are_known() or self._goes_by_itself(self._members):
            return 1
        for member in self._members:
            self._look_at_variables(member)
        if any(map(self._may_change_by_reading, self._members)):
            return 1
        lone = self._lone()
        captured = [self._may_be_captured(member) and member not in lone for member in self._members]
        others = [each for each, is_captured in zip(self._members, captured, strict=True) if not is_captured]
        return MOST if any(captured) and not any(each.is_read_by_code for each in others) else 1

    def _may_change_by_reading(self, member: Member) -> bool:
        """Whether reading a batch may change a variable that the network reads, as an epoch is to show."""
        if not self._may_be_captured(member) or self._epochs[member] > 1:
            return False
        return bool(self._keys.variables(member).values()) and member.is_read_by_code

    def _look_at_variables(self, member: Member) -> None:
        """Have the steps of a member computed one by one where a variable that its network reads changes."""
        if self._may_be_captured(member):
            now = self._keys.variables(member).described()
            if (name := changed_name(self._at_first[member], now)) is not None:
                self._compute_each(member, f"its network or loss reads the variable {name}, which changes")

    def steps(self, rounds: Sequence[Sequence[Batch]]) -> list[list[StepResult | None]]:
        rounds = _alike(rounds)
        if len(rounds) > 1 and self._are_known(rounds[0]):
            groups, ends = self._groups_of_blocks(rounds[0]), (rounds[0], rounds[-1])
            parts = [(part, block.steps) for group in groups for part, block in self._blocks_of(group, ends)]
            rounds = rounds[: min((steps for _, steps in parts), default=1)]
            found: dict[Member, list[StepResult | None]] = {}
            for members, _ in parts:
                found |= self._run(members, rounds)
            if found:
                return self._with_others(found, rounds)
        return [self.step(rounds[0])]

    def _are_known(self, batches: Sequence[Batch] | None = None) -> bool:
        """Whether the steps of all have been compared with those of own networks, where they need that.

        With `batches`, such have.
        """
        lone = self._lone()
        packed = [member for member in self._members if member not in self.alone and member not in lone]
        shapes = dict(zip(self._members, map(signature, batches or ()), strict=False))
        if not all(map(self._is_ready, packed)):
            return False
        alike = Counter(map(self._keys.of, packed))
        return all(
            self._is_tried(
                member, alike[self._keys.of(member)] > 1 and not self._single[member], shapes.get(member)
            )
            for member in packed
        )

    def _lone(self) -> set[Member]:
        """The members without another of their structure that go by themselves: each takes its own steps."""
        if self._takes_one:
            return set()
        packed = [member for member in self._members if member not in self.alone]
        alike = Counter(map(self._keys.of, packed))
        lone = (member for member in packed if alike[self._keys.of(member)] == 1)
        return {member for member in lone if self._goes_by_itself([member])}

    def _may_be_captured(self, member: Member) -> bool:
        if member in self.alone or member in self.uncaptured:
            return False
        return self._keys.of(member) not in self._apart

    def _groups_of_blocks(self, batches: Sequence[Batch]) -> list[list[Member]]:
        """The members whose steps may be taken in blocks, with whom they take them."""
        groups: dict[Hashable, list[Member]] = {}
        for member, batch in zip(self._members, batches, strict=True):
            if self._may_be_captured(member):
                kind = self._keys.of(member), signature(batch), self._criteria[member]
                groups.setdefault(kind, []).append(member)
        parts = [part for members in groups.values() for part in self._cut(members)]
        return [part for part in parts if not self._goes_by_itself(part)]

    def _blocks_of(
        self, members: list[Member], rounds: Sequence[Sequence[Batch]]
    ) -> Iterator[tuple[list[Member], Block]]:
        """The blocks of these members for such batches, several where memory does not suffice for one.

        Where there can be none, that is told.
        """
        try:
            yield members, self._block(members, rounds)
            return
        except torch.OutOfMemoryError as error:
            reason, is_short = f"OutOfMemoryError: {error}", True
        except CaptureError as error:
            reason, is_short = str(error), False
        if is_short:
            self._free(members)
        if is_short and len(members) > 1:
            size = self._halve(members)
            yield from self._blocks_of(members[:size], rounds)
            yield from self._blocks_of(members[size:], rounds)
            return
        for member in members:
            self._compute_each(member, reason)

    def _block(self, members: list[Member], rounds: Sequence[Sequence[Batch]]) -> Block:
        """The block of these members; raises `CaptureError` and `torch.OutOfMemoryError`."""
        pack, places = self._pack(members), [self._members.index(member) for member in members]
        own = [[batches[place] for place in places] for batches in rounds]
        return self._block_for(pack, own, pack.numbers([pack.read.now()], 1))

    def _block_for(self, pack: Pack, rounds: Sequence[Sequence[Batch]], numbers: Numbers) -> Block:
        kind = signature(rounds[0][0]), self._criteria[pack.members[0]], numbers.names, pack.wants_y_pred
        blocks = self._blocks.get(pack, {})
        block = blocks.pop(kind, None) or Block(pack, rounds, numbers)
        blocks[kind] = block  # as the latest
        self._blocks[pack] = blocks
        if len(blocks) > KINDS:
            del blocks[next(iter(blocks))]
        return block

    def _run(
        self, members: list[Member], rounds: Sequence[Sequence[Batch]]
    ) -> dict[Member, list[StepResult | None]]:
        """The steps of the block of members, or as `_otherwise`; those of a member that failed are None."""
        pack = self._pack(members)
        readings: list[Reading] = []
        for _ in rounds:
            for member in members:
                with member.turn.without_numbers:
                    self._begin(member)
            if pack.read.stays and readings:
                continue
            readings.append(pack.read.now())
            pack.step_schedulers()
        places = [self._members.index(member) for member in members]
        chosen = [[batches[place] for place in places] for batches in rounds]
        numbers = pack.numbers(readings, len(rounds))
        before, error = copy_of(pack), None
        try:  # the block is another one where a decay begins to be more than 0
            return _by_member(members, self._block_for(pack, chosen, numbers.first).run(chosen, numbers))
        except Exception as raised:
            error = raised
        self._blocks.pop(pack, None)
        if before is None or lost_device(error):
            return self._give_up(members, error, len(rounds))
        before.put_back()
        told = f"{type(error).__name__}: {first_line(error)}"
        is_short = isinstance(error, torch.OutOfMemoryError)
        del pack, before, error  # which hold what the failed step held
        if is_short and len(members) > 1:
            return self._by_halves(members, chosen, numbers, is_short)
        for member in members:
            self._compute_each(member, f"a captured step failed: {told}")
        return self._otherwise(members, chosen, numbers)

    def _otherwise(
        self, members: list[Member], rounds: Sequence[Sequence[Batch]], numbers: Numbers
    ) -> dict[Member, list[StepResult | None]]:
        """The steps of a block that failed, computed; by halves where that fails, to find the guilty."""
        pack = self._pack(members)
        before = Copy(pack)
        try:
            return _by_member(members, computed(pack, rounds, numbers))
        except Exception as raised:
            error = raised
        if len(members) == 1 or lost_device(error):
            return self._give_up(members, error, len(rounds))
        before.put_back()
        is_short = isinstance(error, torch.OutOfMemoryError)
        del pack, before, error  # which hold what the failed step held
        return self._by_halves(members, rounds, numbers, is_short)

    def _by_halves(
        self, members: list[Member], rounds: Sequence[Sequence[Batch]], numbers: Numbers, is_short: bool
    ) -> dict[Member, list[StepResult | None]]:
        """As `_otherwise`, of members that failed together; `is_short` says whether for want of memory."""
        size = self._halve(members) if is_short else -(-len(members) // 2)
        found: dict[Member, list[StepResult | None]] = {}
        for places in (range(size), range(size, len(members))):
            own = [[batches[place] for place in places] for batches in rounds]
            found |= self._otherwise([members[place] for place in places], own, numbers.of_members(places))
        return found

    def _give_up(
        self, members: list[Member], error: Exception, steps: int
    ) -> dict[Member, list[StepResult | None]]:
        """Have members fail: how many of the steps were taken is not known."""
        for pack in [pack for pack in self._packs if pack.members == members]:
            self._packs.remove(pack)  # as it is: a device that is lost writes nothing back
            self._blocks.pop(pack, None)
        for member in members:
            with member.turn.without_numbers:
                raise error
        return {member: [None] * steps for member in members}

    def _free(self, members: list[Member]) -> None:
        """Let go of the blocks of these members, and of packs that are kept for others."""
        for pack in [*self._idle, *self._packs]:
            if not pack.members or pack.members == members:
                self._blocks.pop(pack, None)
        self._idle.clear()

    def _with_others(
        self, of_blocks: dict[Member, list[StepResult | None]], rounds: Sequence[Sequence[Batch]]
    ) -> list[list[StepResult | None]]:
        """What all members' steps gave, of which those that are in no block take theirs now."""
        found = []
        for number, batches in enumerate(rounds):
            pairs = dict(zip(self._members, batches, strict=True))
            others = {
                member: batch
                for member, batch in pairs.items()
                if member not in of_blocks and member.ended is None
            }
            results = self._step_of(others) if others else {}
            results |= {member: steps[number] for member, steps in of_blocks.items()}
            found.append([None if each.ended is not None else results[each] for each in self._members])
        return found

    def _compute_each(self, member: Member, reason: str) -> None:
        """Have the steps of a member computed one by one, for a reason that the user is told."""
        is_new = self.uncaptured.get(member) != reason
        self.uncaptured[member] = reason
        if is_new and self._tell_uncaptured is not None:
            self._tell_uncaptured(member, reason)

    def _made(self, members: list[Member]) -> Pack:
        kind = self._keys.of(members[0]), len(members)
        packs = [pack for pack, each in self._idle.items() if each == kind]
        if not packs or not self._at_once(members):
            return super()._made(members)
        criterion = self._criteria[members[0]]
        pack = max(packs, key=lambda pack: any(kind[1] == criterion for kind in self._blocks[pack]))
        del self._idle[pack]
        pack.open(members)
        return pack

    def _end(self, pack: Pack) -> None:
        kind = self._keys.of(pack.members[0]), len(pack.members)
        super()._end(pack)
        if pack in self._blocks:
            self._idle[pack] = kind
        if len(self._idle) > IDLE:
            first = next(iter(self._idle))
            del self._idle[first], self._blocks[first]


def _by_member(members: list[Member], results: Steps) -> dict[Member, list[StepResult | None]]:
    return {member: list(found) for member, found in zip(members, zip(*results, strict=True), strict=True)}


def _alike(rounds: Sequence[Sequence[Batch]]) -> Sequence[Sequence[Batch]]:
    """The first rounds, whose batches are of the shapes of the very first."""
    kinds = [signature(batch) for batch in rounds[0]]
    count = 1
    while count < len(rounds) and [signature(batch) for batch in rounds[count]] == kinds:
        count += 1
    return rounds[:count]
