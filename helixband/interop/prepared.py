"""`prepare_data` of DataModules, called once in a run."""

from typing import Any


class Preparation:
    """What is prepared in this run.

    A DataModule that sets attributes in `prepare_data`, which Lightning advises against, is prepared each
    time that it is made: else it would lack them.
    """

    def __init__(self) -> None:
        self._done: set[Any] = set()

    def prepare(self, datamodule: Any, key: object) -> None:
        """Call `prepare_data`, unless that was done for this class of DataModule and this `key`.

        A Trainer that gets the DataModule does not call it again.
        """
        key = type(datamodule), key
        if key not in self._done:
            before = attributes(datamodule)
            datamodule.prepare_data()
            if attributes(datamodule) == before:
                self._done.add(key)
        datamodule.prepare_data = _prepared


def attributes(datamodule: Any) -> tuple[tuple[str, str], ...]:
    """The attributes of a DataModule as they are shown, but for the path of a prediction."""
    return tuple((name, repr(value)) for name, value in vars(datamodule).items() if name != "predict_path")


def _prepared() -> None:
    """In the place of `prepare_data`, for a Trainer to call; a function here, which workers can be sent."""
