"""run.json: what was run, so that the next run can tell whether it goes on with the same thing."""

import os
import platform
import sys
import textwrap
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from helixband import __version__
from helixband.definition import Definition
from helixband.definition.classes import named_classes
from helixband.env import (
    has_credential,
    is_of_the_place,
    variables_looked_up,
    variables_read,
    without_credentials,
)
from helixband.errors import ResultsMismatch, UsageError
from helixband.files import exists, read_whole, write_document, write_whole
from helixband.results.digests import check_digests
from helixband.results.digests import file_digest as file_digest
from helixband.results.directory import Results
from helixband.run.code import changed_lines, changed_modules, digests_of_modules
from helixband.run.values import AUTO, BATCH_SIZE
from helixband.training.configuration import read_value
from helixband.training.options import read_options

T = TypeVar("T", bound=str | tuple[str | None, ...] | None)

DEFAULTS = {
    "seed": 0,
    "epoch": 20,
    "batch_size": BATCH_SIZE,
    "eta": 3,
    "schedule": "hyperband",
    "sampler": "auto",
    "stop_hopeless": False,
    "keep_checkpoints": 0,
}
USED = ("environment", "os_environ", "modules")
"""The keys of what a definition reads of the environment and imports."""
RECORDED_IF_GIVEN = {"keep_checkpoints"}
"""The settings that are recorded only where they are not the defaults."""


class RunFile:
    """The document in a result directory's run.json, and the rules of going on with it.

    Where it is not `binding`, for nothing was trained, it gives its settings and refuses nothing.
    """

    def __init__(self, results: Results, binding: bool = True) -> None:
        self._results = results
        self.path = results.run_file
        self._document: dict[str, Any] = results.run()
        self.binding = binding or "stages" in self._document
        self._definition: Definition | None = None

    def follow(self, definition: Definition) -> None:
        """From now on, record which modules this definition has imported."""
        self._definition = definition

    @property
    def begun(self) -> bool:
        """Whether a run was recorded here."""
        return "definition" in self._document

    def settle(self, args: Namespace) -> None:
        """Give the settings that the command line left open: as recorded, or else the defaults.

        The options of the training become values by name. A batch size of auto stays where none is recorded.
        Raises `ResultsMismatch` for another seed, which may split data otherwise, and other training options.
        """
        recorded = self._settings()
        is_open = self.binding and args.batch_size in (None, AUTO)
        self._guesses_batch_size = is_open and "batch_size" not in recorded
        if is_open:
            args.batch_size = recorded.get("batch_size", args.batch_size)
        if self.binding and args.seed is not None and args.seed != recorded.get("seed", args.seed):
            raise ResultsMismatch(
                f"{self.path.parent} was made with --seed {recorded['seed']}, not {args.seed}; "
                "give the same one, or another directory with --result"
            )
        for name, default in DEFAULTS.items():
            if getattr(args, name) is None:
                setattr(args, name, recorded.get(name, default))
        options = recorded.get("with", {})
        given = options if args.training is None else read_options(args.training, read_value)
        if self.binding and given != options:
            raise ResultsMismatch(
                f"{self.path.parent} was made {_with(options)}, not {_with(given)}; "
                "give the same, or another directory with --result"
            )
        args.training = given

    def setting(self, name: str) -> Any:
        """A recorded setting, or None."""
        return self._settings().get(name)

    def check_batch_size(self) -> None:
        """Raise `UsageError` where a training is to go on with a batch size neither known nor given."""
        if self._guesses_batch_size:
            raise UsageError(
                f"{self.path} is missing, which has the settings that the training was begun with: put back "
                f"a copy of it, or give --batch-size as it was"
            )

    def _settings(self) -> dict[str, Any]:
        """The recorded settings; where run.json is missing, those of the search that the journal has."""
        recorded: dict[str, Any] = self._document.get("settings", {})
        if recorded or self._document or not self.binding:
            return recorded
        searches = [event for event in self._results.journal.of_search() if event["event"] == "search"]
        return {**searches[-1], "epoch": searches[-1]["max_epochs"]} if searches else {}

    def check(self, definition: Definition, force: bool) -> None:
        """Hold the definition, and the environment that it has read, against the recorded ones.

        Raises `ResultsMismatch` where they differ, unless `force`.
        """
        if force or not self.binding:
            return
        directory = self.path.parent
        if self._is_another(definition):
            raise ResultsMismatch(
                f"{directory} was made by another version of {definition.path.name}, kept in "
                f"{self._results.definition_file}; choose another directory with --result, or continue "
                "anyway with --force (this keeps trained models, and repeats tests and predictions)"
                f"{self._told_changes(definition)}"
            )
        if (versions := self._changed_version(definition)) is not None:
            raise ResultsMismatch(
                f"{directory} was made with version {versions[0]} of the hyperparameters in hparams, and now "
                f"it is version {versions[1]}: a default or a meaning is another. Choose another directory "
                "with --result, or use --force, which keeps the values as they are stored"
            )
        for name, (recorded, now) in self._changed_variables().items():
            raise ResultsMismatch(
                f"{directory} was made with {name}={recorded} in the environment, and now it is {now}; "
                "set it back, choose another directory with --result, or use --force"
            )

    def notes(self, definition: Definition) -> list[str]:
        """What has changed of what the definition reads from `os.environ` and imports, and of its copy.

        It is told, not refused.
        """
        lost = self.binding and not self._document
        recorded = self._document.get("os_environ", {}) if self.binding else {}
        changed = {
            name: (value, os.environ.get(name))
            for name, value in recorded.items()
            if value != os.environ.get(name) and not is_of_the_place(name)
        }
        told = [
            f"note: {self.path.parent} was made with {_shown(name, value)} in the environment, and now it is "
            f"{_shown(name, now)}, which the definition may read: results of both may be mixed"
            for name, (value, now) in _without_credentials(changed).items()
        ]
        modules = self._document.get("modules", {}) if self.binding else {}
        if files := changed_modules(definition, modules):
            told.append(
                f"note: {self.path.parent} was made with another version of {files}, which the definition "
                "imports: results of both may be mixed"
            )
        if lost:
            known = (
                "those of its search are in the journal" if self._settings() else "only those given are known"
            )
            told.append(
                f"note: {self.path} is missing, which has the settings and the environment that this was "
                f"made with; put back a copy of it. Of the settings, {known}; the environment is not compared"
            )
        if self._copy_was_edited(definition):
            copy = self._results.definition_file
            kept = self._results.kept_definition(file_digest(copy))
            told.append(f"note: {copy} was changed after it was written; that is kept as {kept}")
        return told

    def record(self, definition: Definition, args: Namespace) -> None:
        """Store what is about to be run, and a copy of the definition."""
        self._document |= {
            "helixband": __version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "command": [without_credentials(argument) for argument in sys.argv],
            "definition": _described(definition),
            "data": without_credentials(args.data),
            "settings": {
                name: getattr(args, name)
                for name in DEFAULTS
                if name not in RECORDED_IF_GIVEN or getattr(args, name) != DEFAULTS[name]
            },
        }
        if args.training:
            self._document["settings"]["with"] = args.training
        if not self.binding:
            self._document |= {"environment": {}, "os_environ": {}, "modules": {}}
        self._record_what_is_used()
        self._replace_definition(definition)
        write_document(self.path, self._document)

    def changes(self, definition: Definition) -> list[str]:
        """How the definition and the variables that it reads by `env` differ from the recorded ones."""
        if not self.binding:
            return []
        changed: dict[str, tuple[Any, Any]] = dict(self._changed_variables())
        if (versions := self._changed_version(definition)) is not None:
            changed = {"the version of hparams": versions, **changed}
        told = [f"{name} was {old}, and is {new}" for name, (old, new) in changed.items()]
        if self._is_another(definition):
            there = self._digest_there()
            kept = f"; the one before is kept as {self._results.kept_definition(there)}" if there else ""
            told = [f"this is another version of {definition.path.name}{kept}", *told]
        return told

    def accept(self, definition: Definition) -> None:
        """Store a definition and environment that finished work was not made with, as `force` has it.

        Before, it has to be known that what was trained fits them. The definition that was there is kept.
        """
        if not self.binding:
            return
        self._replace_definition(definition)
        if self.changes(definition):
            self._document["definition"] = _described(definition)
            self._document |= {"os_environ": {}, "modules": {}}
            self._record_what_is_used()
            write_document(self.path, self._document)

    def stage(self, name: str) -> Any:
        """What was stored when this stage was done, or None."""
        return self.stages().get(name)

    def stages(self) -> Mapping[str, Any]:
        """What was stored of each stage."""
        stages: Mapping[str, Any] = self._document.get("stages", {})
        return stages

    def forget_stages(self, names: Iterable[str]) -> None:
        """Remove what was stored of these stages."""
        for name in names:
            del self._document["stages"][name]
        write_document(self.path, self._document)

    def record_what_is_used(self) -> None:
        """Store what the definition has read of the environment and imported by now, where that is new."""
        before = [self._document.get(key) for key in USED]
        self._record_what_is_used()
        if before != [self._document.get(key) for key in USED]:
            write_document(self.path, self._document)

    def record_single(self, config: dict[str, Any], finished: bool) -> None:
        """Store the configuration of a training without a search, and whether that came to its end."""
        self._document["single"] = {"config": config, "finished": finished}
        write_document(self.path, self._document)

    @property
    def start(self) -> dict[str, Any] | None:
        """What `record_start` stored."""
        return self._document.get("start")

    def record_start(self, origin: dict[str, Any] | None) -> None:
        """Store what trainings begin with, if not with random weights."""
        if origin != self._document.get("start"):
            self._document["start"] = origin
            write_document(self.path, self._document)

    def record_log_scaled(self, names: list[str]) -> None:
        """Store which hyperparameters of a search are drawn on a log scale, for the report."""
        if names != self._document.get("log_scaled"):
            self._document["log_scaled"] = names
            write_document(self.path, self._document)

    def begin_stage(self, name: str, files: Iterable[Path]) -> None:
        """Forget what was stored of a stage and the files of its results, before new ones take their place.

        A run that is killed between two of them does them again.
        """
        digests, stages = self.digests(), dict(self.stages())
        kept = {key: digest for key, digest in digests.items() if key not in {file.name for file in files}}
        if stages.pop(name, None) is not None or kept != digests:
            self._document |= {"digests": kept, "stages": stages}
            write_document(self.path, self._document)

    def finish_stage(self, name: str, facts: dict[str, Any], files: Iterable[Path] = ()) -> None:
        """Store that a stage is done, or how far, with the facts it depended on.

        `files` are those of its results that are read again, by `check_files`, where it wrote them.
        """
        self._record_what_is_used()
        digests = self._document.setdefault("digests", {})
        for file in files:
            digests.pop(file.name, None)
            if exists(file):
                digests[file.name] = file_digest(file)
        self._document.setdefault("stages", {})[name] = facts
        write_document(self.path, self._document)

    def check_files(self, files: Iterable[Path]) -> None:
        """Raise `StorageError` for a file that is not as it was when its stage was done."""
        check_digests(files, self.digests())

    def digests(self) -> dict[str, str]:
        """The digests of the files of results, by their names."""
        return dict(self._document.get("digests", {}))

    def _is_another(self, definition: Definition) -> bool:
        """Whether the definition is not the one that is recorded, or else the one that is there."""
        recorded = self._document.get("definition", {}).get("sha256") or self._digest_there()
        return recorded not in (None, definition.digest)

    def _changed_version(self, definition: Definition) -> tuple[int, int] | None:
        """The recorded version of the hyperparameters and that of now, where they differ."""
        recorded = self._document.get("definition", {}).get("hparams")
        now = definition.hparams.version if definition.hparams else recorded
        return (recorded, now) if recorded is not None and recorded != now else None

    def _told_changes(self, definition: Definition) -> str:
        """The lines that differ from the recorded definition, the first few, where its copy is as it was."""
        if self._digest_there() != self._document.get("definition", {}).get("sha256"):
            return ""
        return changed_lines(read_whole(self._results.definition_file), definition.record)

    def _copy_was_edited(self, definition: Definition) -> bool:
        """Whether the copy of the definition is neither the one that is recorded nor this one."""
        recorded = self._document.get("definition", {}).get("sha256")
        return recorded is not None and self._digest_there() not in (None, recorded, definition.digest)

    def _digest_there(self) -> str | None:
        file = self._results.definition_file
        return file_digest(file) if exists(file) else None

    def _replace_definition(self, definition: Definition) -> None:
        """Copy the definition into the results; what trained something is not lost by it."""
        file, there = self._results.definition_file, self._digest_there()
        if there == definition.digest:
            return
        if there is not None and (self.binding or self._copy_was_edited(definition)):
            write_whole(self._results.kept_definition(there), read_whole(file))
        write_whole(file, definition.record)

    def _record_what_is_used(self) -> None:
        """Add what the definition has read and imported by now.

        Of `os.environ` and of modules, what there was first stays.
        """
        recorded = self._document.get("environment", {}) | variables_read()
        looked_up = variables_looked_up() | self._document.pop("os_environ", {})
        # An earlier version recorded credentials too.
        self._document["environment"] = _without_credentials(recorded)
        looked_up = _without_credentials(looked_up)
        self._document |= {"os_environ": looked_up} if looked_up else {}
        if self._definition is not None:
            modules = digests_of_modules(self._definition, self._document.pop("modules", {}))
            self._document |= {"modules": modules} if modules else {}

    def _changed_variables(self) -> dict[str, tuple[str, str]]:
        """Of the variables that `env` reads: name to the recorded text and the one of now."""
        changed, read = {}, variables_read()
        for name, recorded in self._document.get("environment", {}).items():
            # What the functions of stages that are done have read is not read again: look at it as it is.
            now = read.get(name, os.environ.get(name, recorded))
            if now != recorded and not is_of_the_place(name):
                changed[name] = (recorded, now)
        return _without_credentials(changed)


def _described(definition: Definition) -> dict[str, Any]:
    version = {"hparams": definition.hparams.version} if definition.hparams else {}
    named = [f"{each.file}:{each.name}" for each in named_classes(definition.given)]
    classes = {"classes": [without_credentials(each) for each in named]} if named else {}
    path = without_credentials(str(definition.path))
    return {"path": path, "sha256": definition.digest, **version, **classes}


def _without_credentials(variables: Mapping[str, T]) -> dict[str, T]:
    """Those variables, of one text or several each, that are no credentials."""
    found = {}
    for name, texts in variables.items():
        if not any(has_credential(name, text) for text in (texts if isinstance(texts, tuple) else (texts,))):
            found[name] = texts
    return found


def _with(options: Mapping[str, Any]) -> str:
    given = " ".join(f"{name}={value}" for name, value in options.items())
    return f"with --with {given}" if given else "without --with"


def _shown(name: str, value: str | None) -> str:
    return f"no {name}" if value is None else f"{name}={textwrap.shorten(value, 60)}"
