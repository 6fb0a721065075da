"""Which members are of one structure, as numbers: what describes it would be hashed at each step."""

import itertools
from collections.abc import Hashable
from weakref import WeakKeyDictionary

from helixband.training.member import Member
from helixband.training.steps.packable import pack_key
from helixband.training.steps.reads import Reads
from helixband.training.steps.trying import Configuration

MOST = 1024
"""So many structures keep their numbers: those that were asked for last."""


class PackKeys:
    """Numbers of members, which are equal where members may be in one pack."""

    def __init__(self) -> None:
        self._keys: WeakKeyDictionary[Member, int] = WeakKeyDictionary()
        self._variables: WeakKeyDictionary[Member, Reads] = WeakKeyDictionary()
        self._configurations: WeakKeyDictionary[Member, Configuration] = WeakKeyDictionary()
        self._numbers: dict[Hashable, int] = {}
        self._next = itertools.count()

    def of(self, member: Member) -> int:
        """The number of a member, which stays until it is forgotten."""
        key = self._keys.get(member)
        if key is None:
            variables = tuple(self.variables(member).described().items())
            structure = pack_key(member), self._configurations.get(member), variables
            key = self._keys[member] = self._number(structure)
        return key

    def forget(self, member: Member) -> None:
        """Look at a member anew when its number is asked for: its network may have changed."""
        self._keys.pop(member, None)

    def note(self, member: Member, configuration: Configuration) -> None:
        """Have the number of a member go by what its network reads of its configuration, too.

        What it has read before counts as well: it may read other names in batches of other shapes.
        """
        read = dict(self.configuration(member)) | dict(configuration)
        self._configurations[member] = tuple(sorted(read.items(), key=lambda item: item[0]))
        self.forget(member)

    def configuration(self, member: Member) -> Configuration:
        """What the network of a member reads of its configuration, as far as is known."""
        return self._configurations.get(member, ())

    def variables(self, member: Member) -> Reads:
        """The variables that the network and the loss of a member read."""
        if member not in self._variables:
            self._variables[member] = Reads(member.model)
        return self._variables[member]

    def _number(self, structure: Hashable) -> int:
        number = self._numbers.pop(structure, None)
        self._numbers[structure] = next(self._next) if number is None else number
        if len(self._numbers) > MOST:
            del self._numbers[next(iter(self._numbers))]
        return self._numbers[structure]
