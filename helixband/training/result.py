"""What an epoch or a set came to, by name."""

from typing import Any


class _Unquoted(str):
    """A message of a `KeyError`, which shows the `repr` of what it is given."""

    __repr__ = str.__str__


class Result(dict[str, float]):
    """Numbers by name, which also read as attributes and as `.loc[name]`, as in a Series of pandas.

    >>> result = Result(val_loss=0.5)
    >>> result["val_loss"], result.val_loss, result.loc["val_loss"]
    (0.5, 0.5, 0.5)
    """

    @property
    def loc(self) -> "Result":
        """This result itself."""
        return self

    def __getattr__(self, name: str) -> float:
        if name in self:
            return self[name]
        raise AttributeError(self._without(name))

    def __missing__(self, name: str) -> Any:
        raise KeyError(_Unquoted(self._without(name)))

    def _without(self, name: str) -> str:
        return f"{name!r} is not in the result; it has {', '.join(self) or 'nothing'}"
