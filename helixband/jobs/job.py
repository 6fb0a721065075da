"""A job as it is found on its machine: its folder with what its files say."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from helixband.errors import StorageError
from helixband.files import Shape, misfit
from helixband.jobs.layout import JobFolder

SHAPE: Shape = {
    "helixband": str,
    "name": str,
    "version": int,
    "argv": [str],
    "words": [str],
    "seed": int,
    "values": dict,
    "definition": str,
    "data": str,
    "code": {"digest": str, "commit": (str, None), "changed": bool},
    "created": str,
    "by": str,
    "token": str,
    "scheduler": str,
    "ids": [str],
    "after": (str, None),
    "out": str,
    "err": str,
}


@dataclass(frozen=True)
class Job:
    """A job: `folder`, the `label` that commands and tables know it by, and what job.json has."""

    folder: JobFolder
    label: str
    document: Mapping[str, Any]

    @property
    def ids(self) -> list[str]:
        """What schedulers called it, a submission each; the last one counts."""
        return list(self.document["ids"])

    @property
    def scheduler(self) -> str:
        """The name of the scheduler that it was submitted to last, or made for."""
        return str(self.document["scheduler"])

    def is_of(self, words: list[str], data: str, digest: str) -> bool:
        """Whether it runs these words of main.py, with paths from the root, on these data and this code."""
        own = self.document["words"], self.document["data"], self.document["code"]["digest"]
        return own == (words, data, digest)

    def submitted(self, scheduler: str, id: str, after: str | None) -> "Job":
        """This job with one more submission, which waits until the one with the id `after` has succeeded."""
        changed = {"ids": [*self.ids, id], "scheduler": scheduler, "after": after}
        return Job(self.folder, self.label, {**self.document, **changed})

    def dumped(self) -> bytes:
        """job.json."""
        return (json.dumps(dict(self.document), indent=2) + "\n").encode()


def read_job(folder: JobFolder, label: str, content: bytes) -> Job:
    """The job that a job.json describes; raises `StorageError` where it does not."""
    try:
        document = json.loads(content)
    except ValueError as error:
        raise StorageError(f"{folder.document} is not JSON ({error}); put back a copy of it") from error
    told = misfit(document, dict) or misfit(document, SHAPE)
    missing = [name for name in SHAPE if not told and name not in document]
    if told or missing:
        told = told or f"{missing[0]} is missing"
        raise StorageError(f"{folder.document} is not as it was written: {told}; put back a copy of it")
    return Job(folder, label, document)
