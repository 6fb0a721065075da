"""What a job runs, and lists of it."""

from pathlib import Path
from typing import Any

import pytest
from jobs_toys import command

from helixband.errors import UsageError
from helixband.hparams import Hparams, Range, hparam
from helixband.jobs import Command, Jobs, changes, grid, sample

BASE = Command("first", ["--model", "def.py", "--epoch", "3"])


def test_a_grid_has_each_combination_by_name_and_flag() -> None:
    found = grid(BASE, lr=[0.1, 1e-5], units=[2, 4])
    assert [each.name for each in found] == [
        "first/lr=0.1/units=2",
        "first/lr=0.1/units=4",
        "first/lr=1e-05/units=2",
        "first/lr=1e-05/units=4",
    ]
    assert found[2].line == "--model def.py --epoch 3 --set lr=1e-05 --set units=2"
    assert found[2].values == {"lr": 1e-05, "units": 2}


def test_values_are_given_as_json_has_them() -> None:
    [found] = grid(BASE, x=[True], y=[None], z=[[1, 2]], w=["a b/c"])
    assert found.words[4:] == ["--set", "x=true", "--set", "y=null", "--set", "z=[1, 2]", "--set", "w=a b/c"]
    assert found.name == "first/x=true/y=null/z=[1, 2]/w=a b_c"


def test_changes_are_rows_of_values_and_nothing_is_the_base() -> None:
    found = changes(BASE, [{}, {"lr": 0.1}, {"units": 2, "lr": 1}])
    assert [each.name for each in found] == ["first", "first/lr=0.1", "first/units=2/lr=1"]


def test_a_sample_is_the_same_for_the_same_seed() -> None:
    space: dict[str, Any] = {"units": [2, 4, 8], "lr": lambda generator: round(generator.uniform(0, 1), 3)}
    first, again, other = (sample(BASE, 3, seed, **space) for seed in (0, 0, 1))
    assert [each.name for each in first] == [each.name for each in again]
    assert [each.name for each in first] != [each.name for each in other]
    assert {each.values["units"] for each in first} <= {2, 4, 8}
    assert all(1 <= each.values["x"] <= 2 for each in sample(BASE, 3, x=Range(1.0, 2.0)))


class Toy(Hparams):
    """Hyperparameters of the tests."""

    version = 1
    lr: float = hparam(0.5, "learning rate", short="lr", search=[0.1, 0.2])
    label: str = hparam("none", "a text", short="la")


def test_hyperparameters_by_name_give_the_name_and_the_flags() -> None:
    base = Command.of(Toy(), ["--model", "def.py"])
    assert (base.name, base.words) == ("v1", ["--model", "def.py"])
    [found] = grid(base, lr=[0.25], label=["a b"])
    assert (found.name, found.words) == (found.hparams.path(), [*base.argv, *found.hparams.argv()])
    assert "lr=2.50E-01" in found.name and "--label=a b" in found.words
    assert found.values == {"lr": 0.25, "label": "a b"}
    assert {each.values["lr"] for each in sample(base, 9)} == {0.1, 0.2}


def test_what_is_varied_is_given_though_it_is_the_default() -> None:
    base = Command.of(Toy(), ["--model", "def.py"])
    found = grid(base, lr=[0.25, 0.5])
    assert [each.words[2:] for each in found] == [["--lr=0.25"], ["--lr=0.5"]]
    assert [each.words[2:] for each in grid(found[1], label=["x"])] == [["--lr=0.5", "--label=x"]]
    assert found[1].hparams.args() == ""


def test_a_range_of_a_hyperparameter_has_values_of_its_type() -> None:
    class Sized(Hparams):
        units: int = hparam(1, "units")
        lr: float = hparam(0.5, "learning rate")

    base = Command.of(Sized(), ["--model", "def.py"])
    found = sample(base, 40, units=Range(2, 4), lr={"low": 0.1, "high": 0.3, "step": 0.1})
    assert {each.values["units"] for each in found} == {2, 3, 4}
    assert {each.values["lr"] for each in found} == {0.1, 0.2, 0.3}


def test_a_sample_of_what_nobody_declared_is_refused() -> None:
    with pytest.raises(UsageError, match=r"nothing is declared .* sample\(…, lr="):
        sample(BASE, 2)


@pytest.mark.parametrize("values", [[], "abc", 3, {"low": 1, "high": 2}])
def test_a_grid_needs_lists(values: Any) -> None:
    with pytest.raises(UsageError, match="lr=.*: give a list of the values"):
        grid(BASE, lr=values)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "has the part ''"),
        ("a//b", "has the part ''"),
        ("../x", "has the part '..'"),
        ("/x", "has the part ''"),
        ("a\nb", "a control character"),
        ("a\x7f", "a control character"),
        ("version_3", "begins with version_"),
        ("x" * 300, "longer than 240 bytes"),
    ],
)
def test_a_name_that_can_be_no_folder_is_refused(name: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Command(name, ["--model", "def.py"])


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--epoch", "3"], "has no --model"),
        (["--model", "def.py", "--result", "x"], "--result x: each job has results of its own"),
        (["--model", "def.py", "-r", "x"], "--result x: each job has results of its own"),
        (["--model", "def.py", "--seed", "x"], "argument --seed: invalid int value: 'x'"),
        (["--model"], "argument -f/--model: expected one argument"),
        (["--model", "def.py", "a\0"], "has a NUL"),
        ("--model def.py", "is one text"),
    ],
)
def test_a_command_line_that_a_job_cannot_have_is_refused(argv: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Command("first", argv)


def test_paths_are_those_of_the_code_or_of_the_machine(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    base = command(tmp_path)
    (tmp_path / "code" / "fixed.json").write_text("{}")
    more = [
        "--config",
        "code/fixed.json",
        "--try",
        "known.json",
        "--load-checkpoint",
        "old/JOB_latest_checkpoint",
    ]
    flags = Command("first", [*base.argv, *more, "--names", "ucsc"]).flags
    assert flags.words("/base", 4) == [
        *("--model", "def.py", "--config", "fixed.json", "--try", "/base/known.json"),
        *("--load-checkpoint", "/base/old/JOB_latest_checkpoint", "--names", "ucsc", "--seed", "4"),
    ]
    assert "set -- --model def.py" in Jobs().script(base)


def test_a_seed_that_is_given_stays(tmp_path: Path) -> None:
    assert Command("x", ["--model", "def.py", "--seed", "7"]).flags.words("/", 2) == [
        "--model",
        "def.py",
        "--seed",
        "7",
    ]
