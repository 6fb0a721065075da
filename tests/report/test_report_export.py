"""The trials for other programs."""

import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from report_toys import SEARCH, begun, big_search, result, write_history, write_results

from helixband.report.__main__ import main
from helixband.report.export import csv_table
from helixband.report.summary import read_summary


def export(path: Path, name: str) -> Path:
    file = path / name
    assert main([str(path), "--export", str(file)]) == 0
    return file


def search(path: Path) -> Path:
    """Four trials: the first trained to the end, one stopped, one failed, one without a result."""
    events = [
        SEARCH,
        begun(0, {"lr": 0.1, "net": {"units": 4}, "kind": "a,b", "flag": True, "mix": 1, "decay": None}),
        begun(1, {"lr": 0.001, "net": {"units": 16}, "kind": "c", "flag": False, "mix": "1", "decay": 0.5}),
        begun(2, {"lr": 1e-05, "epochs": 7}, bracket=1, round=2),
        begun(3, {"lr": 0.01, "kind": "c"}),
        result(0, 9, -0.25, 8),
        result(1, 1, -2.0),
        result(2, 3, None, 0, "ValueError: no\nluck"),
    ]
    write_results(path, events)
    write_history(path, "0000", [-1.0, None, *[-0.5] * 5, -0.25, -0.3])
    write_history(path, "0001", [-2.0])
    return path


def test_a_table_has_a_row_a_trial(tmp_path: Path) -> None:
    assert export(search(tmp_path), "trials.csv").read_text().splitlines() == [
        "trial,round,bracket,epochs,reward,best_epoch,error,lr,net/units,kind,flag,mix,decay,config/epochs",
        '0000,0,0,9,-0.25,8,,0.1,4,"a,b",true,1,null,',
        "0001,0,0,1,-2.0,1,,0.001,16,c,false,1,0.5,",
        '0002,2,1,2,,,"ValueError: no',
        'luck",1e-05,,,,,,7',
        "0003,0,0,0,,,,0.01,,c,,,,",
    ]


def test_a_table_of_no_trials_has_its_heading(tmp_path: Path) -> None:
    summary = read_summary(write_results(tmp_path, [SEARCH]))
    assert csv_table(summary) == "trial,round,bracket,epochs,reward,best_epoch,error\n"


def test_an_existing_file_is_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "trials.csv").write_text("old\n" * 1000)
    assert "old" not in export(search(tmp_path), "trials.csv").read_text()


def test_another_suffix_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(search(tmp_path)), "--export", str(tmp_path / "trials.xlsx")]) == 2
    message = capsys.readouterr().err
    assert "trials.xlsx" in message
    assert ".csv (a table), or in .db or .sqlite (an Optuna study)" in message
    assert not (tmp_path / "report.html").exists()


def test_a_study_says_that_optuna_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main([str(search(tmp_path)), "--export", str(tmp_path / "study.db")]) == 1
    assert "install it with: pip install optuna" in capsys.readouterr().err
    assert not (tmp_path / "study.db").exists()


def study(path: Path, name: str = "study.db") -> Any:
    optuna = pytest.importorskip("optuna")
    file = export(path, name)
    return optuna.load_study(study_name="helixband", storage=f"sqlite:///{file}")


def test_a_study_has_the_trials_as_they_ended(tmp_path: Path) -> None:
    found = study(search(tmp_path))
    assert found.direction.name == "MAXIMIZE"
    assert [trial.state.name for trial in found.trials] == ["COMPLETE", "PRUNED", "FAIL", "PRUNED"]
    first, second, third, fourth = found.trials
    assert (first.value, second.value, third.value, fourth.value) == (-0.25, -2.0, None, None)
    assert found.best_trial.number == 0
    assert first.intermediate_values == {1: -1.0, **dict.fromkeys(range(3, 8), -0.5), 8: -0.25, 9: -0.3}
    assert third.user_attrs == {
        "trial": "0002",
        "round": 2,
        "bracket": 1,
        "epochs": 2,
        "error": "ValueError: no\nluck",
        "config": {"lr": 1e-05, "epochs": 7},
    }


def test_a_study_has_the_hyperparameters_with_their_ranges(tmp_path: Path) -> None:
    first, second, third, _ = study(search(tmp_path), "study.sqlite").trials
    # A null among numbers is no number; values of several types are labels.
    assert first.params == {"lr": 0.1, "net/units": 4, "kind": "a,b", "flag": True, "mix": "1"}
    assert second.params["mix"] == '"1"'
    assert second.params["decay"] == 0.5
    assert third.params == {"lr": 1e-05, "epochs": 7}
    distributions = first.distributions | second.distributions
    ranges = {name: (type(found).__name__, found._asdict()) for name, found in distributions.items()}
    assert ranges["lr"] == ("FloatDistribution", {"low": 1e-05, "high": 0.1, "log": True, "step": None})
    assert ranges["net/units"] == ("IntDistribution", {"low": 4, "high": 16, "log": False, "step": 1})
    assert ranges["kind"] == ("CategoricalDistribution", {"choices": ("a,b", "c")})
    assert ranges["flag"] == ("CategoricalDistribution", {"choices": (False, True)})


def test_a_study_of_many_trials_can_be_gone_on_with(tmp_path: Path) -> None:
    found = study(big_search(tmp_path, 60))
    assert len(found.trials) == 60
    assert found.ask().number == 60


def test_a_study_takes_the_place_of_another_file(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    (tmp_path / "study.db").write_text("no database")
    with sqlite3.connect(export(search(tmp_path), "study.db")) as database:
        assert database.execute("select count(*) from trials").fetchone() == (4,)
    database.close()
