"""What an epoch or a set came to, by name."""

from typing import Any

from helixband.errors import DefinitionError


class MissingResult(DefinitionError, KeyError, AttributeError):
    """A name that a result does not hold; what dicts and objects raise."""

    __str__ = Exception.__str__


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
        return self[name]

    def __missing__(self, name: str) -> Any:
        raise MissingResult(f"the result has no {name!r}; it has {', '.join(self) or 'nothing'}")
