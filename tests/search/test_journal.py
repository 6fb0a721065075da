"""The journal of a search, read back: what cannot follow from what is before it is told with its line."""

import json
from pathlib import Path
from typing import Any

import pytest

from helixband.errors import StorageError
from helixband.results.journal import Journal
from helixband.search.executors.task import Outcome
from helixband.search.journal import Place, SearchJournal
from hyperband import Result

SETTINGS = {"max_epochs": 3, "trials": None, "schedule": "hyperband", "eta": 3, "seed": 0}


def trial(number: int, **other: Any) -> dict[str, Any]:
    return {"event": "trial", "trial": number, "round": 0, "bracket": 0, "config": {"lr": number}} | other


def result(number: int, epochs: int = 1, **other: Any) -> dict[str, Any]:
    found = {
        "trained": epochs,
        "reward": -1.0,
        "best_epoch": 1,
        "ended": "epochs",
        "error": None,
        "stops": [],
    }
    return {"event": "result", "trial": number, "epochs": epochs} | found | other


def written(path: Path) -> list[str]:
    """The lines of a journal of two trials and their results."""
    journal = SearchJournal(Journal(path), dict(SETTINGS))
    for number in range(2):
        journal.write_trial(number, Place(0, 0), {"lr": number})
        journal.write_result(Result(number, 1, -1.0), Outcome(-1.0, 1, 1), [])
    journal.write_end()
    return path.read_text().splitlines(keepends=True)


def read(path: Path) -> SearchJournal:
    return SearchJournal(Journal(path), dict(SETTINGS))


def refuses(path: Path, complaint: str) -> None:
    with pytest.raises(StorageError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path}, {complaint}; the journal is damaged: put back a copy of it, or start the search again in "
        "another result directory"
    )


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written(tmp_path / "j")
    found = read(tmp_path / "j")
    assert found.trials == [(Place(0, 0), {"lr": 0}), (Place(0, 0), {"lr": 1})]
    assert [told.trial for told, _, _ in found.results] == [0, 1]
    assert found.finished


CHANGED = "it, or the line before it, is not as it was written"


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], 3),  # there twice
        (lambda lines: [*lines[:1], *lines[2:]], 2),  # lost
        (lambda lines: lines[1:], 1),
        (lambda lines: [*lines[:1], lines[3], lines[2], lines[1], *lines[4:]], 2),  # moved
        (lambda lines: [line.replace('"lr": 1', '"lr": 3') for line in lines], 4),
        (lambda lines: [line.replace("-1.0", "-0.1", 1) for line in lines], 3),
        (lambda lines: [lines[0].replace('"eta": 3', '"eta": 2'), *lines[1:]], 1),
    ],
)
def test_a_line_that_is_changed_lost_moved_or_there_twice_is_told(
    tmp_path: Path, edit: Any, line: int
) -> None:
    lines = written(tmp_path / "j")
    (tmp_path / "j").write_text("".join(edit(lines)))
    refuses(tmp_path / "j", f"line {line}: {CHANGED}")


def test_a_journal_whose_last_lines_are_lost_goes_on_from_there(tmp_path: Path) -> None:
    lines = written(tmp_path / "j")
    (tmp_path / "j").write_text("".join(lines[:4]))
    journal = read(tmp_path / "j")
    journal.write_result(Result(1, 1, -1.0), Outcome(-1.0, 1, 1), [])
    journal.write_end()
    assert (tmp_path / "j").read_text().splitlines(keepends=True) == lines


@pytest.mark.parametrize(
    ("events", "complaint"),
    [
        ([trial(0)], 'line 1: "trial" comes before any "search"'),
        ([SETTINGS, trial(0), trial(0)], "line 3: trial 0 comes where trial 1 was drawn"),
        ([SETTINGS, trial(0), trial(2)], "line 3: trial 2 comes where trial 1 was drawn"),
        ([SETTINGS, trial(0, round=7)], "line 2: there is no round 7 yet"),
        ([SETTINGS, trial(0, bracket=2)], "line 2: there is no bracket 2"),
        ([SETTINGS, trial(0, config=[1])], "line 2: the configuration is [1]"),
        ([SETTINGS, trial(0), result(1)], "line 3: a result of trial 1 comes before the trial"),
        ([SETTINGS, trial(0), result(0, 4)], "line 3: there is no rung of 4 epochs"),
        ([SETTINGS, trial(0), result(0), result(0)], "line 4: trial 0 has a result at 1 epochs before"),
        ([SETTINGS, trial(0), result(0, stops=[5])], "line 3: it stops [5]"),
        ([SETTINGS, trial(0), result(0, ended="well")], "line 3: 'well' is not a valid Ended"),
        ([SETTINGS, {"event": "trial", "trial": 0}], "line 2: 'round' is missing"),
        ([SETTINGS, {"event": "pause"}], 'line 2: "pause" is no event of this version'),
        ([{"max_epochs": 3}], "line 1: 'schedule' is missing"),
    ],
)
def test_a_journal_without_checksums_is_held_against_itself(
    tmp_path: Path, events: list[dict[str, Any]], complaint: str
) -> None:
    lines = [json.dumps({"event": "search"} | event) for event in events]
    (tmp_path / "j").write_text("".join(f"{line}\n" for line in lines))
    refuses(tmp_path / "j", complaint)


def test_a_journal_without_checksums_goes_on_with_them(tmp_path: Path) -> None:
    lines = [json.dumps(event) for event in ({"event": "search"} | SETTINGS, trial(0), result(0))]
    (tmp_path / "j").write_text("".join(f"{line}\n" for line in lines))
    read(tmp_path / "j").write_end()
    assert read(tmp_path / "j").finished
    (tmp_path / "j").write_text((tmp_path / "j").read_text().replace("-1.0", "-0.1"))
    refuses(tmp_path / "j", f"line 4: {CHANGED}")
