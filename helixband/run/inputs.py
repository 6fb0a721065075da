"""The inputs of `--predict`: which files, what each is called, and whether their outputs have a place."""

import os
from argparse import Namespace
from pathlib import Path

from helixband.env import credential_in
from helixband.errors import DataError, UsageError
from helixband.files import matching_files
from helixband.outputs import FORMATS
from helixband.outputs.whole import input_name
from helixband.results.digests import is_same_content
from helixband.results.directory import Results
from helixband.run.records import SUFFIX, Records

PART = ".part"
OUTPUTS = {PART: "folder", SUFFIX: "record", ".std.npy": "output"}
OUTPUTS |= {f".{name}": "output" for name in FORMATS}
"""What names of the files of an input end in, but for parts of predictions."""


def find_inputs(args: Namespace, results: Results, records: Records) -> dict[str, str]:
    """Name -> path of each input of --predict.

    Raises `UsageError` where there is none, or two would be written to one place.
    """
    found: dict[str, str] = {}
    for pattern in args.predict:
        try:
            paths = matching_files(pattern, args.data)
        except DataError as error:
            raise UsageError(f"--predict {pattern}: {error}; paths are under --data") from error
        for path in paths:
            name = input_name(path, args.data)
            if (variable := credential_in(name)) is not None:
                raise UsageError(
                    f"--predict: the name of {path} has the value of the environment variable "
                    f"{variable}, and predictions are stored by this name; rename it"
                )
            if found.setdefault(name, path) != path:
                raise UsageError(f"--predict: {found[name]} and {path} would both be named {name}")
            earlier = records.seen(name).get("path", path)
            if os.path.exists(earlier) and not is_same_content(earlier, path):
                raise UsageError(
                    f"--predict: {path} would be named {name}, as {earlier} was; rename it, or choose "
                    "another directory with --result"
                )
    _check_names(found, args, results)
    return found


def _check_names(found: dict[str, str], args: Namespace, results: Results) -> None:
    """Raise `UsageError` for two inputs of which it is known that they would write one file."""
    for name, path in found.items():
        spread = f"{name}.std"
        if args.mc_dropout and spread in found:
            raise UsageError(
                f"--predict: the standard deviation of {path} and the prediction of {found[spread]} "
                f"would both be named {spread}; rename one of them, or leave --mc-dropout out"
            )
        for folder in map(str, Path(name).parents):
            for suffix, what in OUTPUTS.items():
                if folder.endswith(suffix) and (other := found.get(folder.removesuffix(suffix))):
                    raise UsageError(
                        f"--predict: {path} would be written to {folder}, which is the {what} of "
                        f"{other}; rename one of them"
                    )
        _check_places(name, path, results)


def _check_places(name: str, path: str, results: Results) -> None:
    """Raise `UsageError` where a file is in the place of a folder, or a folder in that of a file."""
    within = [results.predictions / folder for folder in Path(name).parents]
    taken = [(place, "a file") for place in within if place.exists() and not place.is_dir()]
    files = [results.prediction(name, suffix) for suffix in OUTPUTS if suffix != PART]
    taken += [(place, "a folder") for place in files if place.is_dir()]
    for place, what in taken:
        raise UsageError(
            f"--predict: {path} would be written to {place}, which is {what} already; rename the input, "
            "or choose another directory with --result"
        )
