"""One table of many jobs: their hyperparameters and what came of them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from helixband.jobs.job import Job
from helixband.jobs.status import Status
from helixband.jobs.systems import Os
from helixband.results.glance import OUTCOME, outcome


def collected(os: Os, jobs: Sequence[Job], statuses: Sequence[Status]) -> str:
    """A table of tab-separated columns: job, state, reward, `hp_<name>` and `test_<metric>`.

    A column that is empty in all lines is left out.
    """
    contents = os.read([f"{job.folder.results}/{name}" for job in jobs for name in OUTCOME])
    states = {status.job: status for status in statuses}
    rows = []
    for job in jobs:
        paths = {name: f"{job.folder.results}/{name}" for name in OUTCOME}
        config, metrics = outcome(
            {name: contents[path][1] for name, path in paths.items() if path in contents}
        )
        status = states[job.label]
        row: dict[str, Any] = {"job": job.label, "state": status.state, "reward": status.glance.reward}
        row |= {f"hp_{name}": value for name, value in {**job.document["values"], **config}.items()}
        rows.append(row | {f"test_{name}": value for name, value in metrics.items()})
    always = ("job", "state", "reward")
    found = dict.fromkeys(
        [*always, *(name for row in rows for name, value in row.items() if value is not None)]
    )
    columns = sorted(found, key=lambda name: name.startswith("hp_") + 2 * name.startswith("test_"))
    lines = [columns, *([_cell(row, name) for name in columns] for row in rows)]
    return "".join("\t".join(map(_plain, line)) + "\n" for line in lines) if rows else ""


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _plain(text: str) -> str:
    """A text that ends no cell: as JSON has it, where it has a tab or a line's end."""
    return json.dumps(text) if any(letter in text for letter in "\t\r\n") else text
