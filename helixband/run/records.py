"""What was done of the predictions on each input: a record beside the outputs, stored in lots.

    predictions/<input>.record.json   facts, seen, formats, outputs and begun, as `Record` has them

A record that says what is done is written after its outputs are on the disk, so that neither a kill nor a
crash leaves one that says too much. An earlier version kept all of them in run.json; these are moved.
"""

import os
import time
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from helixband.errors import StorageError, UsageError
from helixband.files import Lot, exists, remove_file, size_of, write_document
from helixband.results.digests import file_digest
from helixband.results.directory import RECORD, Results
from helixband.run.runfile import RunFile

LOT_INPUTS, LOT_SECONDS = 256, 1.0
"""A lot is stored once it has so many inputs, or is so old. What it has is predicted again after a kill."""

SUFFIX = RECORD
_STAGE = "predict "  # and the name of an input: its key in run.json, in earlier versions


class Records:
    """The records of all inputs in a result directory, and the lot that is to be stored."""

    def __init__(self, results: Results, run_file: RunFile) -> None:
        self._results, self._run_file = results, run_file
        self._done: dict[str, dict[str, Any]] = {}
        self._lot = Lot()
        self._begun = 0.0

    def of(self, name: str) -> dict[str, Any]:
        """The record of an input, as `Record` stores it; {} where there is none.

        Raises `StorageError` naming the file where it is not as it was written.
        """
        path = self.path(name)
        if size_of(path) == 0:  # a crash can leave a new file empty
            return dict(self._run_file.stage(f"{_STAGE}{name}") or {})
        try:
            return self._results.record(path)
        except StorageError as error:
            raise StorageError(
                f"{error}. Once it is deleted, the input {name} is predicted again, if it is asked for"
            ) from error

    def seen(self, name: str) -> dict[str, Any]:
        """Where the file of an input was when its record was written, and what told it from others there."""
        found = self.of(name)
        facts = found.get("facts", {})  # which an earlier version had this in
        return dict(found.get("seen") or {key: facts[key] for key in ("path", "file") if key in facts})

    def content(self, name: str, seen: dict[str, Any]) -> str | None:
        """The digest of an input's content that is recorded, where its file is the one that was seen then."""
        same = self.seen(name) == seen
        return self.of(name).get("facts", {}).get("content") if same else None

    def begin(self, name: str, document: dict[str, Any], replaces: bool) -> None:
        """Store what an input has before its outputs are written.

        With `replaces`, where there were others, it is synced: the record of these must not outlive them.
        """
        self._take_over()
        if not self._done:
            self._begun = time.monotonic()
        write_document(self.path(name), document)
        if replaces:
            self._lot.sync()

    def finish(self, name: str, document: dict[str, Any]) -> None:
        """Have a record stored with the lot; its outputs are written."""
        self._done[name] = document
        if len(self._done) >= LOT_INPUTS or time.monotonic() - self._begun >= LOT_SECONDS:
            self.store()

    def store(self) -> None:
        """Sync the outputs of the lot, and then store its records."""
        if not self._done:
            return
        self._run_file.record_what_is_used()
        self._lot.sync()
        with self._lot.filling():
            for name, document in self._done.items():
                write_document(self.path(name), document)
        self._lot.sync()
        self._done = {}

    def filling(self) -> AbstractContextManager[None]:
        """A context: what is written in it is synced with the lot."""
        return self._lot.filling()

    def owner(self, path: Path, name: str) -> str | None:
        """The input other than `name` that has the file as its output, or None."""
        file = str(path.relative_to(self._results.path))
        for other in _heads(str(path.relative_to(self._results.predictions))):
            if other != name:
                found = self._done.get(other) or self.of(other)
                if file in found.get("outputs", ()):
                    return other
        return None

    def path(self, name: str) -> Path:
        """Where the record of an input is."""
        return self._results.prediction(name, SUFFIX)

    def _take_over(self) -> None:
        """Give each input a record that an earlier version kept in run.json, and then remove it there."""
        stages = [stage for stage in self._run_file.stages() if stage.startswith(_STAGE)]
        if not stages:
            return
        with self._lot.filling():
            for stage in stages:
                path = self.path(stage.removeprefix(_STAGE))
                if not exists(path):
                    write_document(path, self._run_file.stage(stage))
        self._lot.sync()
        self._run_file.forget_stages(stages)


class Record:
    """The record of the predictions on one input, held against what they would be now.

    `facts`: what these depend on, the input by its content; `seen`: where its file was; `formats` and
    `outputs`: what is done of the same, none after others, with a SHA-256 of each output in `digests`;
    `part`: which windows of all these are, with --chromosomes, as `windows.part_of` says it;
    `begun` there: the files that a run set out to write, which are removed where it did not come to an end.
    """

    def __init__(
        self,
        records: Records,
        results: Results,
        name: str,
        facts: dict[str, Any],
        seen: dict[str, Any] | None = None,
    ) -> None:
        self._records, self._results, self._name = records, results, name
        self.facts, self._seen = facts, seen or {}
        found = records.of(name)
        before = dict(found.get("facts", {}))
        if seen and {key: before.pop(key, None) for key in seen} == seen:
            before["content"] = facts["content"]  # of an earlier version, which knew no content
        outputs, begun = (
            [results.inside(path, records.path(name)) for path in found.get(key, ())]
            for key in ("outputs", "begun")
        )
        same = before == facts and all(exists(output) for output in outputs)
        self.formats: set[str] = set(found.get("formats", ())) if same else set()
        self.outputs = outputs if same else []
        self._digests: dict[str, str] = dict(found.get("digests", {})) if same else {}
        self._old = {*outputs, *begun}.difference(self.outputs)
        self.part: dict[str, Any] = dict(found.get("part", {})) if same else {}

    def has(self, formats: Collection[str]) -> bool:
        """Whether these are done; raises `StorageError` where an output is not as it was written."""
        if not self.formats >= set(formats):
            return False
        for file in self.outputs:
            if self._digests.get(self._inside(file), digest := file_digest(file)) != digest:
                raise StorageError(
                    f"{file} is not as it was written; put back a copy of it, or delete it, and the input "
                    f"{self._name} is predicted again"
                )
        return True

    def begin(self, files: Collection[Path]) -> None:
        """Remove the files of other predictions, and store which ones are about to be written.

        Raises `UsageError` where one of these is of another input.
        """
        self._check_outputs(files)
        for path in self._old:
            # What this input set out to write may have been finished by another since.
            if self._records.owner(path, self._name) is None:
                remove_file(path)
        document = self._document(self.formats, self.outputs, begun=files)
        self._records.begin(self._name, document, replaces=bool(self._old))

    def finish(self, formats: Collection[str], files: Collection[Path]) -> None:
        """Store that these formats are done too, in these files."""
        self._digests |= {self._inside(file): file_digest(file) for file in files}
        self._records.finish(self._name, self._document({*self.formats, *formats}, {*self.outputs, *files}))

    def _inside(self, file: Path) -> str:
        # Relative, so that a result directory can be moved.
        return str(file.relative_to(self._results.path))

    def _check_outputs(self, files: Collection[Path]) -> None:
        for path in sorted(file for file in files if os.path.lexists(file)):
            if (owner := self._records.owner(path, self._name)) is not None:
                raise UsageError(
                    f"--predict {self._name}: {path.relative_to(self._results.path)} is there already, for "
                    f"the input {owner}; rename one of the inputs, or choose another directory with --result"
                )

    def _document(
        self, formats: Collection[str], outputs: Collection[Path], begun: Collection[Path] = ()
    ) -> dict[str, Any]:
        paths = {
            key: sorted(map(self._inside, files)) for key, files in (("outputs", outputs), ("begun", begun))
        }
        digests = {path: self._digests[path] for path in paths["outputs"] if path in self._digests}
        document = {
            "facts": self.facts,
            "seen": self._seen,
            "formats": sorted(formats),
            **paths,
            "digests": digests,
        }
        return {**document, "part": self.part} if self.part else document


def _heads(file: str) -> Iterator[str]:
    """What stands before each dot of a file's name: the inputs whose output it can be.

    >>> list(_heads("x/a.b.npy"))
    ['x/a', 'x/a.b']
    """
    folder, slash, name = file.rpartition("/")
    for place, letter in enumerate(name):
        if letter == "." and place:
            yield f"{folder}{slash}{name[:place]}"
