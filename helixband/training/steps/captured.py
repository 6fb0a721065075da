"""The stepper that captures the steps of members on a GPU, and takes many at a time."""

from collections.abc import Hashable, Mapping, Sequence
from weakref import WeakKeyDictionary

from helixband.training.member import Batch, Member, StepResult
from helixband.training.steps.block import MOST, Block, CaptureError
from helixband.training.steps.numbers import Reading
from helixband.training.steps.pack import Pack
from helixband.training.steps.packable import cannot_capture
from helixband.training.steps.packed import Packed, Tell
from helixband.training.steps.reads import holds_model, may_look
from helixband.training.steps.stacks import signature
from helixband.training.steps.trying import changed_name
from helixband.training.way import Way


class Captured(Packed):
    """Takes the steps of members as `Packed`, those of a lone member too, and many in one block.

    What a block needs is made once for a structure and a number of members, and used by all others of them.
    `uncaptured` says why the steps of a member are computed one by one, which `tell_uncaptured` gets, too.
    """

    def __init__(self, tell: Tell | None = None, tell_uncaptured: Tell | None = None) -> None:
        super().__init__(tell)
        self._tell_uncaptured = tell_uncaptured
        self.uncaptured: WeakKeyDictionary[Member, str] = WeakKeyDictionary()
        self._blocks: WeakKeyDictionary[Pack, dict[Hashable, Block]] = WeakKeyDictionary()
        self._at_first: WeakKeyDictionary[Member, Mapping[str, Hashable]] = WeakKeyDictionary()
        """The variables that the networks of members read, as they are at the beginning of an epoch."""
        self._idle: dict[tuple[Hashable, int], Pack] = {}
        """Packs without members, by structure and number."""

    def join(self, member: Member) -> None:
        super().join(member)
        if member in self.alone:
            return
        variables = self._variables_of(member)
        self._at_first[member] = variables.described()
        reason = cannot_capture(member)
        if reason is None and (variables.sees_model or holds_model(member.model.network)):
            reason = "its network or loss can read the model, which changes"
        if reason is None and may_look(member):
            reason = "the code that reads its batches can look at the model, so that none is read ahead"
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
        if not all(map(self._is_known, self._members)):
            return 1
        for member in self._members:
            self._look_at_variables(member)
        captured = [self._may_be_captured(member) for member in self._members]
        others = [each for each, is_captured in zip(self._members, captured, strict=True) if not is_captured]
        return MOST if any(captured) and not any(each.is_read_by_code for each in others) else 1

    def _look_at_variables(self, member: Member) -> None:
        """Have the steps of a member computed one by one where a variable that its network reads changes."""
        if self._may_be_captured(member):
            now = self._variables_of(member).described()
            if (name := changed_name(self._at_first[member], now)) is not None:
                self._compute_each(member, f"its network or loss reads the variable {name}, which changes")

    def steps(self, rounds: Sequence[Sequence[Batch]]) -> list[list[StepResult | None]]:
        rounds = _alike(rounds)
        if len(rounds) > 1 and all(map(self._is_known, self._members)):
            groups = self._groups_of_blocks(rounds[0])
            blocks = {tuple(members): self._block(members, rounds[0]) for members in groups}
            chosen = {members: block for members, block in blocks.items() if block is not None}
            rounds = rounds[: min((block.steps for block in chosen.values()), default=1)]
            found: dict[Member, list[StepResult | None]] = {}
            for members, block in chosen.items():
                try:
                    found |= self._run(block, list(members), rounds)
                except Exception as error:
                    self._give_up(list(members), error)
                    found |= {member: [None] * len(rounds) for member in members}
            if found:
                return self._with_others(found, rounds)
        return [self.step(rounds[0])]

    def _is_known(self, member: Member) -> bool:
        """Whether its steps have been compared with those of its own network, where it needs that."""
        return member in self.alone or (self._is_ready(member) and member in self._tried)

    def _may_be_captured(self, member: Member) -> bool:
        if member in self.alone or member in self.uncaptured:
            return False
        return self._key(member) not in self._apart

    def _groups_of_blocks(self, batches: Sequence[Batch]) -> list[list[Member]]:
        """The members whose steps may be taken in blocks, with whom they take them."""
        groups: dict[Hashable, list[Member]] = {}
        for member, batch in zip(self._members, batches, strict=True):
            if self._may_be_captured(member):
                kind = self._key(member), signature(batch), self._criteria[member]
                groups.setdefault(kind, []).append(member)
        return [part for members in groups.values() for part in self._cut(members)]

    def _block(self, members: list[Member], batches: Sequence[Batch]) -> Block | None:
        """The block of these members for such batches; None where there can be none, which is told."""
        pack, own = self._pack(members), [batches[self._members.index(member)] for member in members]
        numbers = pack.numbers([pack.read.now()], 1)
        kind = signature(own[0]), self._criteria[members[0]], numbers.names, pack.wants_y_pred
        try:
            if kind not in self._blocks.setdefault(pack, {}):
                self._blocks[pack][kind] = Block(pack, own, numbers)
            return self._blocks[pack][kind]
        except CaptureError as error:
            for member in members:
                self._compute_each(member, str(error))
        return None

    def _run(
        self, block: Block, members: list[Member], rounds: Sequence[Sequence[Batch]]
    ) -> dict[Member, list[StepResult | None]]:
        """The steps of a block; those of a member that failed are None."""
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
        if numbers.names != block.names:  # as where a decay begins to be more than 0
            block = Block(pack, chosen[0], numbers.first)
        results = block.run(chosen, numbers)
        columns = zip(members, zip(*results, strict=True), strict=True)
        return {member: list(found) for member, found in columns}

    def _give_up(self, members: list[Member], error: Exception) -> None:
        """Have the members of a block fail: how many of its steps were taken is not known."""
        pack = self._pack(members)
        self._packs.remove(pack)
        self._blocks.pop(pack, None)
        for member in members:
            with member.turn.without_numbers:
                raise error

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

    def _goes_alone(self, members: list[Member]) -> bool:
        return len(members) == 1 and (members[0] not in self._begun or members[0] in self.alone)

    def _made(self, members: list[Member]) -> Pack:
        kind = self._key(members[0]), len(members)
        if kind not in self._idle or not self._at_once(members):
            return super()._made(members)
        pack = self._idle.pop(kind)
        pack.open(members)
        return pack

    def _end(self, pack: Pack) -> None:
        kind = self._key(pack.members[0]), len(pack.members)
        super()._end(pack)
        if pack in self._blocks:
            self._idle[kind] = pack


def _alike(rounds: Sequence[Sequence[Batch]]) -> Sequence[Sequence[Batch]]:
    """The first rounds, whose batches are of the shapes of the very first."""
    kinds = [signature(batch) for batch in rounds[0]]
    count = 1
    while count < len(rounds) and [signature(batch) for batch in rounds[count]] == kinds:
        count += 1
    return rounds[:count]
