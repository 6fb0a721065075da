"""The place of this process among those of a training, as a Trainer is told it."""


class Place:
    """A ClusterEnvironment of processes of this machine that are there and connected. `rank`: this one's."""

    creates_processes_externally = True
    main_address, main_port = "127.0.0.1", 0

    def __init__(self, rank: int) -> None:
        self._rank, self._size = rank, 1

    @staticmethod
    def detect() -> bool:
        """It is given, and not found."""
        return False

    def world_size(self) -> int:
        """How many processes there are."""
        return self._size

    def set_world_size(self, size: int) -> None:
        """Take it from the devices."""
        self._size = size

    def global_rank(self) -> int:
        """The number of this process."""
        return self._rank

    def set_global_rank(self, rank: int) -> None:
        """It stays."""

    def local_rank(self) -> int:
        """The number of this process on its machine."""
        return self._rank

    def node_rank(self) -> int:
        """There is one machine."""
        return 0
