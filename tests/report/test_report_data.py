"""What a report is made of: the result directory as data, hyperparameters as columns, their importance."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_toys import RUN, SEARCH, begun, big_search, result, write_history, write_results

from helixband.errors import StorageError, UsageError
from helixband.report.columns import Column, columns
from helixband.report.importance import FEWEST, importance
from helixband.report.summary import Summary, TrialSummary, flat, read_summary
from helixband.results.directory import Results


def trials(*configs: dict[str, Any]) -> list[TrialSummary]:
    return [TrialSummary(f"{number:04d}", config) for number, config in enumerate(configs)]


def append(path: Path, line: str) -> None:
    """Add a line to the journal."""
    with open(path / "search" / "journal.jsonl", "a") as file:
        file.write(line + "\n")


def column(*values: Any) -> Column:
    """The column of a hyperparameter with these values; `...` where a trial has none."""
    return columns(trials(*({} if value is ... else {"x": value} for value in values)))[0]


def test_a_search_is_read(tmp_path: Path) -> None:
    events = [
        SEARCH,
        begun(0, {"lr": 0.1}),
        begun(1, {"lr": 0.2}),
        result(0, 1, -3.0),
        result(1, 1, -2.0),
        result(1, 3, -1.0, 2),
        begun(2, {"lr": 0.3}, bracket=1, round=1),
        {"event": "end"},
    ]
    summary = read_summary(write_results(tmp_path, events))
    assert summary.finished
    assert summary.max_epochs == 9
    assert summary.rungs == [1, 3]
    assert [trial.name for trial in summary.trials] == ["0000", "0001", "0002"]
    second, third = summary.trials[1:]
    assert (second.reward, second.best_epoch, second.epochs, second.rungs) == (-1.0, 2, 3, [1, 3])
    assert (third.round, third.bracket, third.reward, third.rungs) == (1, 1, None, [])
    assert summary.run["definition"]["path"] == "promoters/def.py"


def test_a_search_that_was_extended_is_not_finished_before_its_second_end(tmp_path: Path) -> None:
    events = [SEARCH, begun(0, {}), result(0, 9, -1.0), {"event": "end"}, SEARCH | {"max_epochs": 27}]
    summary = read_summary(write_results(tmp_path, events))
    assert not summary.finished
    assert summary.max_epochs == 27
    append(tmp_path, '{"event": "end"}')
    assert read_summary(tmp_path).finished


def test_a_torn_line_of_the_journal_is_left_out_and_left_there(tmp_path: Path) -> None:
    write_results(tmp_path, [SEARCH, begun(0, {"lr": 0.1})])
    journal = tmp_path / "search" / "journal.jsonl"
    torn = journal.read_bytes() + b'{"event": "result", "tri'
    journal.write_bytes(torn)
    assert [trial.rungs for trial in read_summary(tmp_path).trials] == [[]]
    assert journal.read_bytes() == torn


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{nonsense", "line 2: not JSON"),
        ("7", "line 2: no event of a search"),
        ('{"event": "trial", "trial": 0, "config": {}}', "line 2: 'round' is missing"),
        (json.dumps(result(5, 1, 0.0)), "line 2: 5 is missing"),
    ],
)
def test_a_damaged_journal_is_named_with_its_line(tmp_path: Path, line: str, complaint: str) -> None:
    write_results(tmp_path, [SEARCH])
    append(tmp_path, line)
    with pytest.raises(StorageError, match=complaint):
        read_summary(tmp_path)


def test_curves_are_the_columns_of_the_history(tmp_path: Path) -> None:
    write_results(tmp_path, [SEARCH, begun(0, {}), result(0, 3, -1.0, 3)])
    write_history(tmp_path, "0000", [-2.0, None, -1.0])
    curves = read_summary(tmp_path).trials[0].curves
    assert curves == {"val_loss": [2.0, None, 1.0], "reward": [-2.0, None, -1.0]}


def test_a_trial_has_its_duration_its_date_and_the_metrics_of_its_best_epoch(tmp_path: Path) -> None:
    write_results(tmp_path, [SEARCH, begun(0, {}), result(0, 2, -1.0, 1)])
    rows = [{"epoch": 1.0, "val_mse": 0.5, "seconds": 2.0}, {"epoch": 2.0, "val_mse": 0.75, "seconds": 1.5}]
    stored = Results(tmp_path).trial("0000")
    stored.write_history(rows)
    trial = read_summary(tmp_path).trials[0]
    assert (trial.seconds, trial.at_best("val_mse"), trial.at_best("none")) == (3.5, 0.5, None)
    assert trial.written == stored.written()
    stored.history_file.write_text(stored.history_file.read_text().replace("0.75", "0.25"))
    with pytest.raises(StorageError, match=r"train_results\.csv is not as it was written"):
        read_summary(tmp_path)


def test_a_value_that_is_not_finite_is_undefined(tmp_path: Path) -> None:
    write_results(tmp_path, [SEARCH, begun(0, {}), result(0, 1, -1.0)])
    (tmp_path / "trials" / "0000").mkdir(parents=True)
    (tmp_path / "trials" / "0000" / "train_results.csv").write_text("epoch,val_loss,reward\n1.0,inf,-1.0\n")
    assert read_summary(tmp_path).trials[0].curves["val_loss"] == [None]


@pytest.mark.parametrize("row", ["1.0,apple", "1.0"])
def test_a_damaged_history_is_named(tmp_path: Path, row: str) -> None:
    write_results(tmp_path, [SEARCH, begun(0, {})])
    (tmp_path / "trials" / "0000").mkdir(parents=True)
    (tmp_path / "trials" / "0000" / "train_results.csv").write_text(f"epoch,reward\n{row}\n")
    with pytest.raises(StorageError, match="0000/train_results.csv is damaged"):
        read_summary(tmp_path)


def test_epochs_after_the_last_result_count(tmp_path: Path) -> None:
    write_results(tmp_path, [SEARCH, begun(0, {}), result(0, 1, -3.0), begun(1, {})])
    write_history(tmp_path, "0000", [-3.0, -1.0, -2.0])
    write_history(tmp_path, "0001", [-4.0, -4.0])
    first, second = read_summary(tmp_path).trials
    assert (first.epochs, first.reward, first.best_epoch) == (3, -1.0, 2)
    assert (second.epochs, second.reward, second.best_epoch) == (2, -4.0, 1)


def test_a_trial_that_failed_keeps_the_reward_of_an_earlier_rung(tmp_path: Path) -> None:
    events = [SEARCH, begun(0, {}), result(0, 1, -3.0), result(0, 3, None, 0, "ValueError: no")]
    trial = read_summary(write_results(tmp_path, events)).trials[0]
    assert (trial.reward, trial.error, trial.epochs) == (-3.0, "ValueError: no", 2)


def test_failures_are_grouped_by_their_error_but_for_numbers(tmp_path: Path) -> None:
    errors = ["out of 3 GiB", "loss is nan", "out of 2 GiB"]
    events = [SEARCH] + [begun(k, {}) for k in range(3)]
    events += [result(k, 1, None, 0, error) for k, error in enumerate(errors)]
    write_results(tmp_path, events)
    (tmp_path / "trials" / "0000").mkdir(parents=True)
    (tmp_path / "trials" / "0000" / "error.txt").write_text("\n".join(f"line {k}" for k in range(40)) + "\n")
    first, second = read_summary(tmp_path).failures
    assert (first.error, [trial.name for trial in first.trials]) == ("out of 3 GiB", ["0000", "0002"])
    assert (second.error, [trial.name for trial in second.trials]) == ("loss is nan", ["0001"])
    assert first.trials[0].traceback.splitlines() == [f"line {k}" for k in range(28, 40)]


def test_a_training_without_a_search_is_one_trial(tmp_path: Path) -> None:
    write_history(tmp_path, "single", [-3.0, -1.0, -2.0])
    (tmp_path / "trials" / "single" / "config.json").write_text('{"lr": 0.1}')
    (tmp_path / "run.json").write_text(json.dumps(RUN | {"settings": {"epoch": 3}}))
    (tmp_path / "best_config").symlink_to("trials/single")
    summary = read_summary(tmp_path)
    assert (summary.search, summary.finished, summary.best) == (None, True, "single")
    assert [(trial.name, trial.reward, trial.best_epoch) for trial in summary.trials] == [("single", -1.0, 2)]
    (tmp_path / "run.json").write_text(json.dumps(RUN | {"settings": {"epoch": 4}}))
    assert not read_summary(tmp_path).finished


def test_results_and_predictions_are_listed(tmp_path: Path) -> None:
    write_results(tmp_path, [SEARCH])
    (tmp_path / "test_result.json").write_text('{"mse": 0.5, "auroc": null}')
    (tmp_path / "baselines.json").write_text('{"mean_mse": 1.5, "missing": "no sequences"}')
    (tmp_path / "predictions" / "a.fa.part").mkdir(parents=True)
    (tmp_path / "predictions" / "a.fa.part" / "0.npy").write_text("...")
    (tmp_path / "predictions" / "b10.npy").write_text("12345")
    (tmp_path / "predictions" / "b2.npy").write_text("")
    summary = read_summary(tmp_path)
    assert summary.test_result == {"mse": 0.5, "auroc": None}
    assert summary.baselines == {"mean_mse": 1.5, "missing": "no sequences"}
    assert summary.predictions == [("b2.npy", 0), ("b10.npy", 5)]


def test_what_is_no_result_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no directory .*/missing"):
        read_summary(tmp_path / "missing")
    with pytest.raises(UsageError, match="is no result directory"):
        read_summary(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_reading_writes_nothing(tmp_path: Path) -> None:
    path = big_search(tmp_path, 20, max_epochs=9)
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    read_summary(path)
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before


def test_a_nested_configuration_is_flat_by_paths() -> None:
    schedule = {"__schedule__": "LinearSchedule", "end": 0.1}
    assert dict(flat({"lr": schedule, "layers": [8, [4]], "none": {}, "a/b~": None})) == {
        "lr/__schedule__": "LinearSchedule",
        "lr/end": 0.1,
        "layers/0": 8,
        "layers/1/0": 4,
        "none": "{}",
        "a~1b~0": None,
    }


@pytest.mark.parametrize(
    ("values", "expected", "categories"),
    [
        ([1, 2.5, None, ...], [1, 2.5, None, None], None),
        (["b10", "b2", ...], ["b10", "b2", None], ["b2", "b10"]),
        ([True, False, None], ["true", "false", "null"], ["false", "null", "true"]),
        ([1, "1", True], ["1", '"1"', "true"], ["1", '"1"', "true"]),
        ([None, ...], ["null", None], ["null"]),
    ],
)
def test_a_column_is_of_numbers_or_of_labels(
    values: list[Any], expected: list[Any], categories: list[str] | None
) -> None:
    found = column(*values)
    assert found.values == expected
    assert found.categories == categories


def test_a_scale_is_logarithmic_where_values_are_spread_so() -> None:
    assert column(*np.logspace(-4, -1, 20).tolist()).log
    assert column(1, 10, 100, 1000).log
    assert not column(*np.linspace(0.001, 0.6, 20).tolist()).log  # two decades, evenly
    assert not column(0.0, 0.001, 1.0).log
    assert not column(16, 32, 64, 128).log
    assert not column(0.5).log
    assert not column("a", "b").log


def test_a_scale_is_the_one_that_values_were_drawn_on_where_that_is_known() -> None:
    found = columns(trials({"lr": 0.1, "dropout": 0.01}, {"lr": 0.2, "dropout": 0.9}), ["lr"])
    assert [column.log for column in found] == [True, False]
    below = columns(trials({"lr": 0.0}, {"lr": 0.2}), ["lr"])
    assert not below[0].log


def drawn(count: int, seed: int = 0) -> tuple[dict[str, np.ndarray], list[Column]]:
    """Three independent uniform hyperparameters."""
    rng = np.random.default_rng(seed)
    values = {name: rng.random(count) for name in "abc"}
    return values, [Column(name, drawn.tolist()) for name, drawn in values.items()]


def test_shares_of_a_sum_are_those_of_the_variances() -> None:
    x, found = drawn(600)
    rewards = 2 * x["a"] + x["b"]
    result = importance(found, [(k, 9, float(reward)) for k, reward in enumerate(rewards)])
    shares = {share.name: share for share in result.shares}
    assert [share.name for share in result.shares] == ["a", "b", "c"]
    assert shares["a"].median == pytest.approx(0.8, abs=0.06)  # 4 : 1, as the variances are
    assert shares["b"].median == pytest.approx(0.2, abs=0.06)
    assert shares["c"].median < 0.01
    assert all(share.low <= share.median <= share.high for share in result.shares)
    assert result.interactions and result.interactions.median < 0.06


def test_an_exclusive_or_is_all_interaction() -> None:
    x, found = drawn(600)
    rewards = (x["a"] - 0.5) * (x["b"] - 0.5)
    result = importance(found, [(k, 9, float(reward)) for k, reward in enumerate(rewards)])
    assert result.interactions and result.interactions.median > 0.8


def test_what_longer_training_gains_is_no_hyperparameters_share() -> None:
    x, found = drawn(300)
    results = [(k, 1, float(x["a"][k])) for k in range(300)]
    results += [(k, 9, float(x["a"][k] + 10)) for k in range(0, 300, 3)]
    shares = importance(found, results).shares
    assert shares[0].name == "a"
    assert shares[0].median > 0.95


def test_one_diverged_trial_does_not_hide_the_others() -> None:
    x, found = drawn(200)
    rewards = x["a"].copy()
    rewards[7] = -1e9
    assert importance(found, [(k, 1, float(r)) for k, r in enumerate(rewards)]).shares[0].median > 0.8


def test_categories_and_missing_values_have_shares() -> None:
    kinds = ["x", "y", "z", None] * 50
    found = [Column("kind", kinds, ["x", "y", "z"]), Column("noise", list(range(200)))]
    reward = {"x": 0.0, "y": 3.0, "z": 1.0, None: 2.0}
    shares = importance(found, [(k, 1, reward[kind]) for k, kind in enumerate(kinds)]).shares
    assert [share.name for share in shares] == ["kind", "noise"]
    assert shares[0].median > 0.95


def test_an_interval_holds_its_share() -> None:
    x, found = drawn(60)
    rewards = [(k, 1, float(x["a"][k] > 0.97)) for k in range(60)]  # few trees see why
    result = importance(found, rewards)
    shares = [*result.shares, *([result.interactions] if result.interactions else [])]
    assert shares
    assert all(share.low <= share.median <= share.high for share in shares)


def test_importance_is_the_same_again() -> None:
    x, found = drawn(100)
    results = [(k, 1, float(reward)) for k, reward in enumerate(x["a"])]
    assert importance(found, results) == importance(found, results)


def test_importance_says_why_it_cannot_be_told() -> None:
    x, found = drawn(FEWEST - 1)
    results = [(k, 1, float(reward)) for k, reward in enumerate(x["a"])]
    few = importance(found, results * 2)  # two rungs of a trial are not two trials
    assert (few.shares, few.reason) == ([], "14 trials have a reward, and it takes 15 at least")
    x, found = drawn(30)
    assert importance(found, [(k, 1, 1.0) for k in range(30)]).reason == "all rewards are equal"
    constant = [Column("a", [1] * 30)]
    assert "no hyperparameter" in importance(constant, [(k, 1, float(k)) for k in range(30)]).reason


def test_an_empty_directory_of_results_has_no_trials(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(RUN))
    assert read_summary(tmp_path) == Summary(
        RUN, search=None, finished=False, trials=[], best=None, test_result={}, baselines={}, predictions=[]
    )
