"""A set of strings has one order in all processes of a run, and in the command that goes on."""

import subprocess
import sys
from typing import Any

import pytest
from conftest import Project

ORDER = """
import os, sys
with open(os.path.join(os.path.dirname(__file__), "orders"), "a") as file:
    print("".join(list({"a", "b", "c", "d", "e", "f", "g"})), file=file)
"""


def orders(project: Project, *flags: str, **options: Any) -> list[str]:
    """The orders that each process that loads the definition has, as the command runs."""
    found = project.path / "orders"
    found.unlink(missing_ok=True)
    process = project.start(*flags, **options)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return found.read_text().split()


def test_workers_and_later_commands_have_the_order_of_the_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    project.define(ORDER)
    search = "--hyper", "--trials", "2", "--schedule", "none", "--epoch", "1"
    found = orders(project, *search, "--workers", "2")
    assert len(found) >= 3 and len(set(found)) == 1
    assert set(orders(project, *search, "--eval")) == set(found)


def test_a_seed_of_the_users_is_kept(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.define(ORDER)
    monkeypatch.setenv("PYTHONHASHSEED", "5")
    prints = [sys.executable, "-c", 'print("".join(list({"a", "b", "c", "d", "e", "f", "g"})))']
    expected = subprocess.run(prints, capture_output=True, text=True, check=True).stdout.strip()
    assert set(orders(project, "--epoch", "1")) == {expected}
