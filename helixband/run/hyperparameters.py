"""The hyperparameters that a command line gives: by --config, by --set, and by the flags of a definition."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from helixband.definition import Definition
from helixband.errors import DefinitionError, ResultsMismatch, UsageError
from helixband.files import exists, read_object
from helixband.hparams import Hparams
from helixband.hparams.flags import dashed, given, has_flag
from helixband.randomness import derive_seed
from helixband.results.directory import SINGLE
from helixband.search.executors.task import Document
from helixband.search.samplers.random import draw
from helixband.search.space import configurations
from helixband.training.configuration import canonical, read_config, to_json


def values_given(args: Namespace, definition: Definition) -> Document | None:
    """What is given, as JSON; None if nothing is. It is the whole configuration, but with `hparams`.

    Raises `UsageError` for a value that is none, and with `hparams` for an unknown name, a value that does
    not fit, and a name that is given by --set and by its flag.
    """
    if not (args.config or args.set or args.hparams):
        return None
    if (kind := definition.hparams) is None:
        return read_config(args.config, args.set)
    values = _declared(kind, read_config(args.config, []), f"--config {args.config}: ") if args.config else {}
    values |= _declared(kind, given(args.hparams, args.set, kind.field), "")
    try:
        return dict(to_json(values, "the configuration"))
    except DefinitionError as error:
        raise UsageError(str(error)) from error


def unheard(args: Namespace, definition: Definition) -> list[str]:
    """Notes on flags of main.py that have the name of a hyperparameter and do not set it."""
    fields = definition.hparams.fields().values() if definition.hparams else []
    return [
        f"note: --{dashed(field.name)} is a flag of main.py; the hyperparameter {field.name} of "
        f"{field.owner.__name__} is given by --set {field.name}=… alone"
        for field in fields
        if not has_flag(field) and f"--{dashed(field.name)}" in args.given
    ]


def unsearched_defaults(definition: Definition) -> Document:
    """The defaults of the declared hyperparameters that no search tunes: they go without saying."""
    if (kind := definition.hparams) is None:
        return {}
    searched = kind.space()
    return {name: value for name, value in kind().to_json().items() if name not in searched}


def part_of(stored: Document, values: Document, definition: Definition) -> Document:
    """What a stored configuration has of what is given, for a message; without `hparams`, all of it."""
    if definition.hparams is None:
        return stored
    return {name: value for name, value in stored.items() if name in values}


def single_configuration(definition: Definition, values: Document | None, seed: int) -> Document:
    """The configuration of a training without a search, with the values that are given.

    Without `hparams`, those are all of it.
    """
    if values is not None and definition.hparams is None:
        return values
    get_config = configurations(definition, values or {}, seed, searches=False)
    return draw(get_config, derive_seed(seed, "config", SINGLE))


def agrees(definition: Definition, stored: Document, values: Document) -> bool:
    """Whether a stored configuration has what is given; with `hparams`, that may be a part of it."""
    if (kind := definition.hparams) is None:
        return canonical(stored) == canonical(values)  # true is no 1
    try:
        return kind(stored) == kind({**stored, **values})
    except UsageError as error:
        raise ResultsMismatch(
            f"the configuration {stored}, which is stored, does not fit the definition's hparams: {error}"
        ) from error


def config_beside(file: Path) -> Document | None:
    """The configuration of the trial in whose folder a checkpoint is, if it is in one."""
    config = file.parent.parent / "config.json"
    return read_object(config) if file.parent.name == "checkpoints" and exists(config) else None


def completed_tries(
    path: str, tries: Sequence[Document], definition: Definition, values: Document
) -> list[Document]:
    """The configurations of --try; with `hparams`, what one leaves out has its fixed value or its default.

    Raises `UsageError` for what does not fit.
    """
    if (kind := definition.hparams) is None:
        return list(tries)
    return [
        _declared(kind, {**kind().to_json(), **values, **tried}, f"--try {path}: configuration {number}: ")
        for number, tried in enumerate(tries, 1)
    ]


def _declared(kind: type[Hparams], values: Document, where: str) -> Document:
    """The values in their one form, None the default; raises `UsageError`, `where` in front."""
    try:
        whole = kind(values).to_json()
    except UsageError as error:
        raise UsageError(f"{where}{error}") from error
    return {name: whole[name] for name in values}
