"""What a search is given beside its space: values that are fixed, and configurations to try first."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from helixband.errors import DefinitionError, UsageError
from helixband.randomness import derive_seed
from helixband.search.samplers.evidence import Document
from helixband.search.samplers.random import call, draw, holds_expressions
from helixband.training.configuration import canonical, read_document, to_json

SAMPLE = 200
"""So many draws tell which keys a configuration has, and which values are drawn again and again."""
COMMON = 0.02
"""A value is one of a choice where more than this share of the draws have it."""
TRIES = 10_000

GetConfig = Callable[[], Any]


def fixed(get_config: GetConfig, values: Document, seed: int, together: bool = True) -> GetConfig:
    """`get_config` with values that are fixed: what it returns has all of these keys, with these values.

    A value that `get_config` itself draws often is waited for, so that what depends on it fits; any other,
    and a hyperopt expression, is replaced. Raises `UsageError` for a key that no configuration has, and, as
    one is drawn, for values that none has `together`; without that, they are replaced too.
    """
    if not values:
        return get_config
    draws = sample(get_config, seed)
    for key, value in values.items():
        if not any(key in drawn for drawn in draws):
            known = ", ".join(dict.fromkeys(key for drawn in draws for key in drawn)) or "nothing"
            raise UsageError(
                f"--set {key}={json.dumps(value)}: get_config() draws no configuration with {key!r}; "
                f"it draws {known}"
            )
    common = [key for key in values if _share(key, values[key], draws) > COMMON]

    def narrowed() -> Document:
        for _ in range(TRIES):
            space = call(get_config)
            plain = [key for key in common if key in space and not holds_expressions({key: space[key]})]
            if all(key in space for key in values) and all(
                _equal(to_json(space[key]), values[key]) for key in plain
            ):
                return {key: values.get(key, drawn) for key, drawn in space.items()}
        if not together:
            return {**space, **values}
        given = " ".join(f"--set {key}={json.dumps(value)}" for key, value in values.items())
        raise UsageError(
            f"{given}: of {TRIES:,} configurations that get_config() draws none has these together; "
            "leave one of them out"
        )

    return narrowed


def read_tries(path: str) -> list[Document]:
    """The configurations of a JSON file: an object, or a list of them. Raises `UsageError` for another."""
    found = read_document(path, "--try")
    entries = found if isinstance(found, list) else [found]
    if not entries:
        raise UsageError(f"--try {path}: holds no configuration")
    tries = []
    for number, entry in enumerate(entries, 1):
        where = f"--try {path}: configuration {number}"
        if not isinstance(entry, dict):
            raise UsageError(f"{where} is {entry!r}; it has to be an object, key to value")
        try:
            tries.append(dict(to_json(entry, where)))
        except DefinitionError as error:
            raise UsageError(str(error)) from error
    return tries


def check_tries(
    path: str, tries: Sequence[Document], get_config: GetConfig, values: Document, seed: int
) -> None:
    """Raises `UsageError` for a configuration that has other keys than any that is drawn.

    `values` are those that are fixed, with which each has to agree.
    """
    draws = sample(fixed(get_config, values, seed), seed)
    for number, tried in enumerate(tries, 1):
        where = f"--try {path}: configuration {number}"
        _check_keys(tried, draws, where)
        for key, value in values.items():
            if not _equal(tried[key], value):
                raise UsageError(
                    f"{where} has {key}={json.dumps(tried[key])}, and --set fixes {key}={json.dumps(value)}"
                )


def distinct(tries: Sequence[Document]) -> tuple[list[Document], list[str]]:
    """Each configuration once, and what there is to say of the others."""
    first: dict[str, int] = {}
    found, notes = [], []
    for number, tried in enumerate(tries, 1):
        same = first.setdefault(canonical(tried), number)
        if same == number:
            found.append(tried)
        else:
            notes.append(f"--try: configuration {number} is the same as configuration {same}, and left out")
    return found, notes


def sample(get_config: GetConfig, seed: int) -> list[Document]:
    """Configurations as they are drawn."""
    return [draw(get_config, derive_seed(seed, "sample", number)) for number in range(SAMPLE)]


def _check_keys(value: Any, draws: Sequence[Any], where: str) -> None:
    """Hold the keys of an object, and of objects in it, against those that are drawn in its place."""
    objects = [drawn for drawn in draws if _has_keys(drawn)]
    if not objects:
        return
    if not _has_keys(value):
        if len(objects) == len(draws):
            raise UsageError(f"{where} is {value!r}; get_config() draws an object there")
        return
    same = [drawn for drawn in objects if drawn.keys() == value.keys()]
    if not same:
        nearest = min(objects, key=lambda drawn: len(drawn.keys() ^ value.keys()))
        lacks = ", ".join(key for key in nearest if key not in value)
        more = ", ".join(key for key in value if key not in nearest)
        wrong = " and ".join(filter(None, [lacks and f"lacks {lacks}", more and f"has {more} besides"]))
        raise UsageError(
            f"{where} {wrong}; it has to have the keys of a configuration that get_config() draws, "
            f"for example {', '.join(nearest) or 'none'}"
        )
    for key, item in value.items():
        _check_keys(item, [drawn[key] for drawn in same], f"{where}[{key!r}]")


def _has_keys(value: Any) -> bool:
    return isinstance(value, dict) and "__schedule__" not in value


def _share(key: str, value: Any, draws: Sequence[Document]) -> float:
    having = [drawn[key] for drawn in draws if key in drawn]
    return sum(_equal(drawn, value) for drawn in having) / len(having)


def _equal(one: Any, other: Any) -> bool:
    return canonical({"": one}) == canonical({"": other})  # true is no 1
