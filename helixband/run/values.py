"""The values of flags, read from their text; what cannot be one is told by `argparse`."""

import argparse
import re

BATCH_SIZE = 100
"""The default."""
AUTO = "auto"
"""Of flags whose value is to be found."""


def positive(text: str) -> int:
    """An integer from 1."""
    return _at_least(1, text)


def batch_size(text: str) -> int | str:
    """An integer from 1, or auto."""
    if text == AUTO:
        return text
    try:
        return _at_least(1, text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or {AUTO}") from None


def natural(text: str) -> int:
    """An integer from 0."""
    return _at_least(0, text)


def eta(text: str) -> int:
    """An integer from 2."""
    return _at_least(2, text)


def names(text: str) -> list[str]:
    """Names with commas between them."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of names such as chr1,chr2")
    return names


def seconds(text: str) -> float:
    """The seconds of a time."""
    parts = re.fullmatch(r"(?:([0-9.]+)d)?(?:([0-9.]+)h)?(?:([0-9.]+)m)?(?:([0-9.]+)s?)?", text)
    try:
        numbers = [float(number or 0) for number in parts.groups()] if parts else []
    except ValueError:
        numbers = []
    seconds = sum(number * unit for number, unit in zip(numbers, (86400, 3600, 60, 1), strict=False))
    if not seconds:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2h, 90m, 1h30m or 45s")
    return seconds


def pack(text: str) -> int | str:
    """A number of trials that train together, from 2, or off, or auto."""
    if text in ("off", AUTO):
        return text
    try:
        return _at_least(2, text)
    except argparse.ArgumentTypeError:
        told = f"{text!r} is neither off nor an integer from 2, as 8, nor {AUTO}"
        raise argparse.ArgumentTypeError(told) from None


def _at_least(least: int, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer from {least}")
    return value
