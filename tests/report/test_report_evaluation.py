"""The test result in the report: metrics beside trivial models, the check of the data, the plots."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from report_toys import RUN, SEARCH, begun, result, write_results

from helixband import metrics
from helixband.errors import StorageError
from helixband.metrics.outcomes import (
    Outcome,
    confusion,
    outcomes,
    precision_recall,
    reliability,
    roc,
)
from helixband.report import charts
from helixband.report.__main__ import main
from helixband.report.summary import read_summary
from helixband.results.digests import file_digest
from helixband.results.scored import write_scored

RNG = np.random.default_rng(0)


def page(path: Path, y_true: Any = None, y_pred: Any = None, kind: str = "", **more: Any) -> str:
    """The report of a search with this test set; `more`: names, test_result, baselines, audit."""
    write_results(path, [SEARCH, begun(0, {"lr": 0.1}), result(0, 9, -0.5)])
    (path / "test_result.json").write_text(json.dumps(more.get("test_result", {"loss": 0.5})))
    for name in ("baselines", "audit"):
        if name in more:
            (path / f"{name}.json").write_text(json.dumps(more[name]))
    if y_true is not None:
        write_scored(path / "test_predictions.npz", y_true, y_pred, more.get("names", ()), kind)
    assert main([str(path)]) == 0
    return (path / "report.html").read_text(encoding="utf-8")


def charted(html: str) -> list[str]:
    """What the charts say to those who do not see them."""
    return re.findall(r'<svg class="chart" role="img" aria-label="([^"]*)"', html)


def rows(html: str) -> list[list[str]]:
    """The cells of all rows of tables."""
    found = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in found]


def outcome(true: Any, predicted: Any, kind: str = "", names: tuple[str, ...] = ()) -> Outcome:
    [found], reasons = outcomes({"": np.asarray(true)}, {"": np.asarray(predicted)}, names, kind)
    assert reasons == []
    return found


# What labels are


@pytest.mark.parametrize(
    ("true", "predicted", "kind", "shape"),
    [
        ([0, 1, 1], [0.2, 0.9, 0.4], "classes", (3, 2)),
        ([[0], [1]], [[0.2], [0.9]], "classes", (2, 2)),
        ([0, 2, 1], [[0.2, 0.3, 0.5]] * 3, "classes", (3, 3)),
        ([0, 2, 1], [[-2.0, 3.0, 9.0]] * 3, "classes", (3, 3)),  # logits
        ([[0, 1], [1, 0]], [[0.2, 0.8], [0.6, 0.4]], "classes", (2, 2)),
        ([[0, 1], [1, 0]], [[0.2, 0.3], [0.6, 0.7]], "labels", (2, 2)),
        ([[1, 1], [np.nan, 0]], [[0.2, 0.8], [0.6, 0.4]], "labels", (2, 2)),
        ([0, 1, 2.5], [0.1, 0.9, 0.3], "numbers", (3, 1)),
        ([0, 1], [-0.5, 1.5], "numbers", (2, 1)),
        ([[0.5, 1], [2, 3]], [[1, 1], [1, 1]], "numbers", (2, 2)),
        (np.zeros((2, 5)), np.full((2, 4, 5), 0.25), "classes", (10, 4)),  # tokens, (N, C, L)
        (np.zeros((2, 5)), np.full((2, 5, 4), 0.25), "classes", (10, 4)),
        (np.full((2, 5), 0.5), np.zeros((2, 5, 1)), "numbers", (2, 5)),
        (np.full((2, 50), 0.5), np.zeros((2, 50)), "numbers", (100, 1)),  # a profile
        (np.full((2, 3, 5), 0.5), np.zeros((2, 3, 5)), "numbers", (30, 1)),
    ],
)
def test_labels_are_told_by_their_values(
    true: Any, predicted: Any, kind: str, shape: tuple[int, int]
) -> None:
    found = outcome(true, predicted)
    assert (found.kind, found.predicted.shape) == (kind, shape)


def test_the_model_knows_better_than_the_values() -> None:
    assert outcome([0, 1, 1], [0.2, 0.9, 0.4], "numbers").kind == "numbers"
    assert outcome([[0, 1], [1, 0]], [[0.2, 0.8], [0.6, 0.4]], "labels").kind == "labels"


def test_positions_without_a_label_are_left_out() -> None:
    found = outcome([[0, -100], [2, 1]], np.full((2, 3, 2), 1 / 3))
    assert found.true.tolist() == [0, 2, 1]
    assert found.note == "all positions together; 1 positions without a label left out"


def test_predictions_that_are_not_finite_are_left_out_and_that_is_said() -> None:
    found = outcome([0.5, 1.5, 2.5], [1.0, np.nan, 3.0])
    assert found.true[:, 0].tolist() == [0.5, 2.5]
    assert found.note == "1 examples without finite values are left out"


def test_each_label_counts_where_its_own_prediction_is_finite() -> None:
    found = outcome([[1, 0], [0, 1], [1, 1]], [[0.5, np.nan], [0.25, 0.75], [np.nan, np.nan]], "labels")
    assert [(true.tolist(), score.tolist()) for _, true, score in found.columns()] == [
        ([True, False], [0.5, 0.25]),
        ([True], [0.75]),
    ]
    assert found.are_probabilities
    assert found.note == (
        "1 examples without finite values are left out; 1 more values are left out of their own output alone"
    )


def test_parts_go_with_labels_of_their_name_or_with_all_of_them() -> None:
    one, two = np.array([0.5, 1.5]), np.array([2.5, 1.0])
    found, reasons = outcomes({".a": one}, {".a": two, ".b": two})
    assert [(part.title, part.true[:, 0].tolist()) for part in found] == [("a", [0.5, 1.5])]
    assert reasons == ["b: the labels have no part of this name"]
    found, reasons = outcomes({"": one}, {".a": two, ".b": np.zeros((2, 3))})
    assert [part.title for part in found] == ["a"]
    assert reasons == ["b: there is no plot for y_true of shape (2,) and y_pred of (2, 3)"]


# Curves


def test_areas_are_those_of_the_metrics() -> None:
    true = RNG.random(300) < 0.3
    score = np.round(RNG.random(300) + 0.5 * true, 2)  # with ties
    assert roc(true, score)[2] == pytest.approx(metrics.auroc(true, score))
    assert precision_recall(true, score)[2] == pytest.approx(metrics.auprc(true, score))


def test_a_perfect_order_has_the_corner() -> None:
    true, score = np.array([True, False, True, False]), np.array([0.9, 0.2, 0.8, 0.1])
    x, y, area = roc(true, score)
    assert (x.tolist(), y.tolist(), area) == ([0, 0, 0, 0.5, 1], [0, 0.5, 1, 1, 1], 1.0)


def test_reliability_compares_what_was_said_with_what_came() -> None:
    found = outcome([1, 0, 0, 0, 1, 1], [0.25, 0.25, 0.25, 0.25, 0.95, 1.0])
    means, shares, counts, error = reliability(found)
    assert means == pytest.approx([0.25, 0.975])
    assert shares.tolist() == [0.25, 1.0]
    assert counts.tolist() == [4, 2]
    assert error == pytest.approx(0.025 * 2 / 6)


def test_reliability_of_several_classes_is_of_the_likeliest() -> None:
    found = outcome([0, 1, 2], [[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.35, 0.55]])
    means, shares, counts, _ = reliability(found)
    assert means == pytest.approx([0.55, 0.8])
    assert shares.tolist() == [1.0, 0.5]
    assert counts.tolist() == [1, 2]


def test_confusion_has_true_classes_in_rows() -> None:
    found = outcome([0, 0, 1, 2], [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]])
    assert confusion(found).tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]
    assert confusion(outcome([0, 1, 1], [0.2, 0.9, 0.4])).tolist() == [[1, 0], [1, 1]]


def test_an_axis_is_not_squeezed_by_one_value() -> None:
    values = np.append(np.linspace(0, 1, 200), 1e6)
    low, high = charts.limits([values])
    assert -0.2 < low < 0
    assert 1 < high < 4
    assert charts.limits([np.array([3.0, 3.0])]) == pytest.approx((1.41, 4.59))


# The page


def test_the_test_result_comes_first_with_trivial_models_beside_each_metric(tmp_path: Path) -> None:
    html = page(
        tmp_path,
        test_result={"loss": 0.5, "accuracy": 0.75, "auroc": None},
        baselines={"majority_accuracy": 0.625, "kmer_accuracy": 0.8125, "kmer_auroc": 0.9},
    )
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", html)[0] == "Test result"
    assert rows(html)[:4] == [
        ["metric", "model", "majority class", "6-mers"],
        ["loss", "0.5", "", ""],
        ["accuracy", "0.75", "0.625", "0.8125"],
        ["auroc", "undefined", "", "0.9"],
    ]
    assert "The model does not beat the 6-mers in accuracy: 0.75, 0.8125." in html


def test_a_smaller_error_is_the_better_one(tmp_path: Path) -> None:
    html = page(tmp_path, test_result={"mse": 2.0}, baselines={"mean_mse": 1.5})
    assert "The model does not beat the mean in mse: 2, 1.5." in html
    assert "does not beat" not in page(tmp_path, test_result={"mse": 1.0}, baselines={"mean_mse": 1.5})


def test_spreads_and_unlike_examples_stand_beside_the_metrics(tmp_path: Path) -> None:
    scores = {"loss": 0.5, "loss_std": 0.01, "unlike_examples": 40, "unlike_loss": 0.75}
    assert rows(page(tmp_path, test_result=scores))[:2] == [
        ["metric", "model", "model, 40 examples unlike the training set"],
        ["loss", "0.5 ± 0.01", "0.75"],
    ]


def test_a_metric_that_a_definition_calls_unlike_something_is_shown(tmp_path: Path) -> None:
    found = rows(page(tmp_path, test_result={"loss": 0.5, "unlike_loss": 0.75}))
    assert found[:3] == [["metric", "model"], ["loss", "0.5"], ["unlike_loss", "0.75"]]


def test_the_report_says_what_the_loss_of_several_passes_is(tmp_path: Path) -> None:
    told = "Dropout was left on. Metrics are of the mean prediction"
    assert told in page(tmp_path / "mc", test_result={"loss": 0.5, "loss_std": 0.01})
    assert told not in page(tmp_path / "once", test_result={"loss": 0.5})


@pytest.mark.parametrize(
    ("baselines", "why"),
    [
        ({"majority_accuracy": 0.5, "kmer_accuracy": 0.6}, "--check was not run"),
        ({"missing": "no training data"}, "--check was not run"),
        ({"majority_accuracy": 0.5}, "there is a check of nucleic acids alone"),
    ],
)
def test_no_check_is_missed_where_there_is_none(
    tmp_path: Path, baselines: dict[str, float], why: str
) -> None:
    assert f"not\nknown: {why}." in page(tmp_path, test_result={"accuracy": 0.9}, baselines=baselines)


def test_what_the_check_found_is_told(tmp_path: Path) -> None:
    audit = {
        "n_test": 200,
        "exact_duplicates": 10,
        "overlapping_intervals": None,
        "similar": 10,
        "gc_auroc": 0.7,
        "warnings": ["10 of 200 are <b> in both"],
        "notes": ["no coordinates"],
        "of": {"definition": RUN["definition"]["sha256"]},
    }
    html = page(tmp_path, test_result={"auroc": 0.9}, audit=audit)
    assert '<li class="bad">10 of 200 are &lt;b&gt; in both</li><li>no coordinates</li>' in html
    assert ["the same sequence", "10", "5.00%"] in rows(html)
    assert ["an overlapping interval", "not known", ""] in rows(html)
    assert rows(html)[:2] == [["metric", "model", "GC content alone"], ["auroc", "0.9", "0.7"]]
    other = page(tmp_path, test_result={"auroc": 0.9}, audit=audit | {"of": {"definition": "another"}})
    assert "The check was of another definition." in other
    assert rows(other)[0] == ["metric", "model"]
    assert "--check was not run" in page(tmp_path / "other")


def test_two_classes_have_their_curves_and_confusion(tmp_path: Path) -> None:
    html = page(
        tmp_path, np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]), "classes", names=("no", "<b>")
    )
    assert charted(html) == [
        "ROC curve; area under the curve: &lt;b&gt;: 0.75",
        "Precision and recall; average precision: &lt;b&gt;: 0.833",
        "Reliability: the share that came true against the predicted probability, error 0.337",
    ]
    assert ["no", "2", "0", "2"] in rows(html)
    assert ["&lt;b&gt;", "1", "1", "2"] in rows(html)
    assert "<b>" not in html


def test_of_many_labels_three_are_drawn_and_all_told(tmp_path: Path) -> None:
    true = (RNG.random((60, 20)) < 0.5).astype(float)
    true[0, 0] = np.nan
    true[:, 1] = 1
    html = page(tmp_path, true, RNG.random((60, 20)), "labels")
    assert len(charted(html)[0].split(", ")) == 3
    assert "Of 19 the lowest, the middle and the highest." in html
    assert "1 missing labels are left out." in html
    assert ["label_1", "60", "60", "undefined", "undefined"] in rows(html)
    assert sum(row[0].startswith("label_") for row in rows(html)) == 20


def test_numbers_are_drawn_against_the_true_ones_each_output_for_itself(tmp_path: Path) -> None:
    true = RNG.normal(size=(50, 2))
    html = page(tmp_path, true, 2 * true, "numbers")
    assert [label.partition(":")[0] for label in charted(html)] == ["output_0", "output_1"]
    assert "Pearson r 1, mean squared error" in html


def test_each_output_is_compared_where_its_own_label_is_known(tmp_path: Path) -> None:
    nan = np.nan
    true = [[1.0, nan, nan], [2.0, nan, nan], [nan, 5.0, nan], [4.0, 6.0, nan]]
    predicted = [[1.0, 0.0, 0.0], [3.0, 0.0, 0.0], [9.0, 5.0, 0.0], [4.0, nan, 0.0]]
    html = page(tmp_path, np.array(true), np.array(predicted), "numbers")
    assert [label.partition(":")[0] for label in charted(html)] == ["output_0", "output_1"]
    assert "Pearson r 0.929, mean squared error 0.333, 3 values." in html
    assert "mean squared error 0, 1 values." in html
    assert "output_2: no pair of label and prediction is known." in html
    assert "8 more values are left out of their own output alone." in html


def test_labels_of_which_no_example_has_all_are_drawn(tmp_path: Path) -> None:
    true = np.array([[1.0, np.nan], [np.nan, 2.0], [3.0, np.nan], [np.nan, 5.0]])
    html = page(tmp_path, true, np.full((4, 2), 2.0), "numbers")
    assert (
        html.count("mean squared error 1, 2 values.") == 2
    )  # in the note and for those who do not see the plot
    assert html.count("mean squared error 4.5, 2 values.") == 2


def test_labels_that_are_all_missing_are_told(tmp_path: Path) -> None:
    html = page(tmp_path, np.full((3, 2), np.nan), np.zeros((3, 2)), "numbers")
    assert "No label of a finite prediction is known." in html


def test_many_points_are_few_squares(tmp_path: Path) -> None:
    true = RNG.normal(size=200_000)
    html = page(tmp_path, true, true + RNG.normal(size=200_000), "numbers")
    assert 'class="square level-0 shade-6"' in html
    assert len(html) < 200_000


def test_what_cannot_be_drawn_is_told(tmp_path: Path) -> None:
    html = page(tmp_path, {"a": np.ones(3)}, {"<i>": np.ones(3)})
    assert "&lt;i&gt;: the labels have no part of this name." in html
    assert charted(html) == []


def test_results_of_earlier_versions_have_no_plots_and_that_is_said(tmp_path: Path) -> None:
    html = page(tmp_path)
    assert charted(html) == []
    assert "There are no plots of labels and predictions" in html


@pytest.mark.parametrize("name", ["test_result.json", "baselines.json", "test_predictions.npz"])
def test_a_result_that_was_changed_is_told(tmp_path: Path, name: str) -> None:
    page(tmp_path, np.arange(3.0), np.arange(3.0), "numbers", baselines={"mean_mse": 1.5})
    digests = {file.name: file_digest(file) for file in tmp_path.iterdir() if file.is_file()}
    (tmp_path / "run.json").write_text(json.dumps(RUN | {"digests": digests}))
    read_summary(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:-3] + b"  }" if content[:1] == b"{" else content[:-1] + b"x")
    with pytest.raises(StorageError, match=f"{re.escape(name)} is not as it was written"):
        read_summary(tmp_path)


def test_the_report_takes_no_torch(tmp_path: Path) -> None:
    page(tmp_path, np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]), "classes")
    code = (
        "import sys\nfrom helixband.report.__main__ import main\n"
        f"main([{str(tmp_path)!r}])\nprint('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
