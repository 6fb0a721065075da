"""The name of a job by the hyperparameters that its definition declares, without loading the definition.

A definition that has `from hparams import Everything as hparams` has its classes in hparams.py beside it.
That file alone is loaded: it needs no torch.
"""

import ast
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from helixband.errors import HelixbandError, UsageError
from helixband.hparams import Hparams, flags
from helixband.jobs.command import Command, Flags, grid


def named_commands(words: Sequence[str], values: Mapping[str, Sequence[str]]) -> list[Command] | None:
    """The command of these words, or those of a grid of values as texts, named by their hyperparameters.

    None where the definition imports no class as `hparams` from a file beside it. Raises `UsageError` for a
    value that does not fit, and where that file cannot be loaded.
    """
    own = Flags(words)
    declared = None if own.is_experiment else hparams_of(own.model)
    if declared is None:
        return None
    parsed, rest = declared.parser().parse_known_args(list(words))
    set_here = flags.given(flags.texts(parsed), parsed.set, declared.field)
    set_here = {**_config(own.files.get("config"), declared), **set_here}
    given = declared(set_here)
    if not values:  # as it was typed: a search fixes what is given, also where that is the default
        return [Command(given.path(), words, given.to_json())]
    typed = {
        name: [declared.parse(["--set", f"{name}={text}"])[declared.field(name).name] for text in texts]
        for name, texts in values.items()
    }
    return grid(Command.of(given, rest, fixed=set_here), **typed)


def _config(path: str | None, declared: type[Hparams]) -> dict[str, Any]:
    """The values that a file of --config gives, by name, checked."""
    if path is None:
        return {}
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        given = declared(document)
    except FileNotFoundError as error:
        raise UsageError(f"--config {path} is not here, and names the job: give --name") from error
    except (OSError, ValueError, TypeError, HelixbandError) as error:
        raise UsageError(f"--config {path}: {error}") from error
    return {declared.field(name).name: given[declared.field(name).name] for name in document}


def hparams_of(definition: Path) -> type[Hparams] | None:
    """The class that a definition imports as `hparams` from a file beside it, or None."""
    if not definition.is_file():
        return None  # which is told where the code is packed
    try:
        tree = ast.parse(definition.read_bytes(), str(definition))
    except (OSError, SyntaxError, ValueError) as error:
        raise UsageError(f"--model {definition}: cannot be read ({error})") from error
    for node in tree.body:
        for alias in node.names if isinstance(node, ast.ImportFrom) and node.level == 0 else ():
            assert isinstance(node, ast.ImportFrom)
            path = definition.absolute().parent / f"{(node.module or '').replace('.', '/')}.py"
            if (alias.asname or alias.name) == "hparams" and path.is_file():
                found = getattr(_load(path), alias.name, None)
                return found if isinstance(found, type) and issubclass(found, Hparams) else None
    return None


def _load(path: Path) -> Any:
    """The module in a file, whose folder it may import from."""
    spec = importlib.util.spec_from_file_location(f"helixband_jobs_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except HelixbandError:
        raise
    except Exception as error:
        raise UsageError(
            f"{path}: {type(error).__name__}: {error}; it is loaded for the name of the job: mend it, or "
            "give --name"
        ) from error
    finally:
        sys.path.remove(str(path.parent))
    return module
