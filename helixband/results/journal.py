"""A file of events that grows line by line."""

import json
import zlib
from pathlib import Path
from typing import Any

from helixband.errors import StorageError
from helixband.files import append, cut, exists, file_facts, misfit, read_whole
from helixband.results.shapes import EVENTS, NEEDED

SUM = "sum"
"""The key of a line's checksum, a CRC-32 of the event and of the lines before it."""


class Journal:
    """Events, one JSON document a line, each with a checksum that goes on from that of the line before.

    So a line that is changed, lost, moved or there twice shows. Lines before the first checksum, which are of
    an earlier version, are taken as they are.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = self._sum = 0  # of the lines that were read or written
        self._read: tuple[list[int], list[dict[str, Any]]] | None = None  # with the facts of the file then

    def events(self) -> list[dict[str, Any]]:
        """All events. A torn last line, which a process is writing or was killed at, is left where it is.

        Raises `StorageError` naming the line that is not as it was written.
        """
        facts = file_facts(self.path) if exists(self.path) else None
        if facts is not None and self._read is not None and self._read[0] == facts:
            return [dict(event) for event in self._read[1]]
        content = read_whole(self.path) if facts is not None else b""
        whole = content[: content.rfind(b"\n") + 1]
        events, self._sum, summed = [], 0, False
        for number, line in enumerate(whole.splitlines(), 1):
            event = self._event(line, number)
            found = event.pop(SUM, None)
            self._sum = _checksum(event, self._sum)
            summed = summed or found is not None
            if summed and found != self._sum:
                raise self.damaged(number, "it, or the line before it, is not as it was written")
            events.append(event)
        self._size = len(whole)
        self._read = None if facts is None else (facts, events)
        return [dict(event) for event in events]

    def of_search(self) -> list[dict[str, Any]]:
        """As `events`; also raises where a line lacks something, or has it of another type than a search."""
        events = self.events()
        for line, event in enumerate(events, 1):
            kind = event["event"]
            missing = [f"'{name}' is missing" for name in NEEDED.get(kind, ()) if name not in event]
            if told := missing or list(filter(None, [misfit(event, EVENTS.get(kind, dict))])):
                raise self.damaged(line, told[0])
            if event.get("trial", 0) < 0:
                raise self.damaged(line, f"trial is {event['trial']}")
        return events

    def append(self, event: dict[str, Any], sync: bool = True) -> None:
        """Add one event; it is on the disk when this returns, or without `sync` with the next one that is.

        A torn last line is cut off: for this, the process has to be the only one that writes here.
        """
        if (self.path.stat().st_size if self.path.is_file() else 0) != self._size:
            self.events()
            cut(self.path, self._size)
        total = _checksum(event, self._sum)
        line = json.dumps({**event, SUM: total}, allow_nan=False).encode() + b"\n"
        append(self.path, line, sync)
        self._size, self._sum = self._size + len(line), total

    def best_trial(self) -> int | None:
        """The trial of the highest reward, the first of these, or None where none has a reward."""
        rewards = []
        for event in self.of_search():
            if event["event"] == "result":
                reward, trial = event["reward"], event["trial"]
                if reward is not None:
                    rewards.append((reward, -trial))
        return -max(rewards)[1] if rewards else None

    def last_result(self, trial: int) -> dict[str, Any] | None:
        """The event of the last rung that a trial reached with a reward, or None."""
        results = [
            event for event in self.of_search() if event["event"] == "result" and event["trial"] == trial
        ]
        return next((event for event in reversed(results) if event["reward"] is not None), None)

    def config(self, trial: int) -> dict[str, Any] | None:
        """The configuration that was drawn for a trial, or None."""
        drawn = [
            event for event in self.of_search() if event["event"] == "trial" and event.get("trial") == trial
        ]
        return dict(drawn[0]["config"]) if drawn else None

    def damaged(self, line: int, what: str) -> StorageError:
        """The error for a line, from 1, that cannot be what was written."""
        return StorageError(
            f"{self.path}, line {line}: {what}; the journal is damaged: put back a copy of it, or start the "
            "search again in another result directory"
        )

    def _event(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise self.damaged(number, f"not JSON ({error})") from error
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            raise self.damaged(number, "no event of a search")
        return event


def _checksum(event: dict[str, Any], before: int) -> int:
    return zlib.crc32(json.dumps(event).encode(), before)
