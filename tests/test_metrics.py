"""Metrics, against scikit-learn and SciPy where they are defined, and NaN where they are not."""

import functools
import math
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.metrics
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from helixband.errors import DataError
from helixband.metrics import (
    Metric,
    accuracy,
    auprc,
    auroc,
    class_index,
    cosine,
    jensen_shannon,
    kl_divergence,
    mse,
    of_classes,
    pearson,
    per_class,
    per_label,
    poisson_deviance,
    predicted_class,
    profile_pearson,
    spearman,
)

NAN, INFINITY = float("nan"), float("inf")
OF_ROWS = [cosine, jensen_shannon, kl_divergence, profile_pearson]
OF_VALUES = [mse, pearson, spearman, poisson_deviance, *OF_ROWS]
ALL = [accuracy, auroc, auprc, *OF_VALUES]
CLASSIFICATION = [accuracy, auroc, auprc]

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(2, 50)
values = st.floats(-1e6, 1e6, width=32)


def draw(seed: int, n: int, classes: int) -> tuple[Any, Any]:
    """Labels (N,) and scores (N, C) with ties, rows of sum 1."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(1, 6, (n, classes)).astype(float)
    return rng.integers(0, classes, n), scores / scores.sum(1, keepdims=True)


# Two classes.


@settings(deadline=None)
@given(seed=seeds, n=sizes)
def test_metrics_of_two_classes_are_those_of_scikit_learn(seed: int, n: int) -> None:
    y_true, scores = draw(seed, n, 2)
    y_pred = scores[:, 1]
    assert accuracy(y_true, y_pred) == sklearn.metrics.accuracy_score(y_true, y_pred > 0.5)
    assume(0 < y_true.sum() < n)
    assert auroc(y_true, y_pred) == pytest.approx(sklearn.metrics.roc_auc_score(y_true, y_pred))
    assert auprc(y_true, y_pred) == pytest.approx(sklearn.metrics.average_precision_score(y_true, y_pred))


@pytest.mark.parametrize("metric", CLASSIFICATION)
def test_columns_of_one_and_one_column_a_class_mean_the_same(metric: Metric) -> None:
    y_true, scores = draw(0, 30, 2)
    y_pred = scores[:, 1]
    expected = metric(y_true, y_pred)
    assert 0.0 < expected < 1.0
    assert metric(y_true[:, None], y_pred[:, None]) == expected
    assert metric(np.eye(2)[y_true], y_pred) == expected
    assert metric(y_true.astype(np.float32), y_pred.tolist()) == expected


def test_the_area_does_not_depend_on_the_scale_of_scores() -> None:
    assert auroc([0, 1, 0, 1], [-30.0, -2.0, 5.0, 100.0]) == 0.75


# More classes.


@settings(deadline=None)
@given(seed=seeds, n=st.integers(6, 50), classes=st.integers(3, 5))
def test_metrics_of_more_classes_are_means_of_each_against_the_rest(seed: int, n: int, classes: int) -> None:
    y_true, y_pred = draw(seed, n, classes)
    assert accuracy(y_true, y_pred) == sklearn.metrics.accuracy_score(y_true, y_pred.argmax(1))
    assume(len(set(y_true)) == classes)
    one_hot = np.eye(classes)[y_true]
    assert auroc(y_true, y_pred) == pytest.approx(
        sklearn.metrics.roc_auc_score(y_true, y_pred, multi_class="ovr")
    )
    assert auprc(y_true, y_pred) == pytest.approx(
        sklearn.metrics.average_precision_score(one_hot, y_pred, average="macro")
    )
    for metric in CLASSIFICATION:
        assert metric(one_hot, y_pred) == metric(y_true, y_pred)


def test_classes_that_are_not_present_do_not_count() -> None:
    y_pred = np.array([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7]])
    by_class = per_class(auroc, [0, 1, 0, 1], y_pred)
    assert math.isnan(by_class["class_2"])
    assert auroc([0, 1, 0, 1], y_pred) == pytest.approx((by_class["class_0"] + by_class["class_1"]) / 2)


def test_per_class_holds_each_class_against_the_rest() -> None:
    y_pred = [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]]
    expected = {"class_0": 2 / 3, "class_1": 2 / 3, "class_2": 1.0}
    assert per_class(accuracy, [0, 1, 2], y_pred) == expected
    assert per_class(accuracy, np.eye(3), y_pred) == expected
    assert per_class(auroc, [0, 1, 2], y_pred) == {"class_0": 1.0, "class_1": 1.0, "class_2": 1.0}


def test_per_class_with_names_keeps_the_name_of_the_metric() -> None:
    y_pred = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]
    both = per_class(accuracy, [0, 1, 1], y_pred, names=["a", "b"])
    both |= per_class(functools.partial(auroc), [0, 1, 1], y_pred, names=("a", "b"))

    assert both == {"accuracy_a": 2 / 3, "accuracy_b": 2 / 3, "auroc_a": 1.0, "auroc_b": 1.0}
    with pytest.raises(DataError, match="there are 1 names for 2 classes"):
        per_class(auroc, [0, 1, 1], y_pred, names=["a"])


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_per_class_takes_the_probability_of_class_one(shape: tuple[int, ...]) -> None:
    y_pred = np.array([0.1, 0.4, 0.35, 0.8]).reshape(shape)
    assert per_class(auroc, [0, 0, 1, 1], y_pred) == {"class_0": 0.75, "class_1": 0.75}


# Regression.


@settings(deadline=None)
@given(data=st.data(), n=sizes)
def test_metrics_of_a_regression_are_those_of_scipy_and_scikit_learn(data: st.DataObject, n: int) -> None:
    y_true, y_pred = (data.draw(arrays(np.float64, n, elements=values)) for _ in range(2))
    assert mse(y_true, y_pred) == pytest.approx(sklearn.metrics.mean_squared_error(y_true, y_pred))
    assume(np.ptp(y_true) > 1e-3 and np.ptp(y_pred) > 1e-3)
    assert pearson(y_true, y_pred) == pytest.approx(scipy.stats.pearsonr(y_true, y_pred)[0], abs=1e-6)
    assert spearman(y_true, y_pred) == pytest.approx(scipy.stats.spearmanr(y_true, y_pred)[0])


@settings(deadline=None)
@given(data=st.data(), scale=st.sampled_from([1e-170, 1e-30, 1e30, 1e170]))
def test_a_correlation_does_not_depend_on_the_scale(data: st.DataObject, scale: float) -> None:
    x, y = (np.array(data.draw(st.permutations(range(6)))) for _ in range(2))
    assert pearson(x, y) == pytest.approx(scipy.stats.pearsonr(x, y)[0], abs=1e-12)
    assert pearson(x * scale, y) == pytest.approx(pearson(x, y), abs=1e-12)
    assert pearson(x, x * scale) == pytest.approx(1.0)
    assert -1.0 <= pearson(x, -x * scale) <= -1.0 + 1e-12


def test_rounding_takes_no_correlation_beyond_one() -> None:
    for x in np.random.default_rng(0).normal(size=(500, 7)):
        assert -1.0 <= pearson(x, -x) < pearson(x, x) <= 1.0


def test_several_columns_give_the_mean_over_those_that_are_defined() -> None:
    y_true = np.array([[1, 1, 5], [2, 2, 5], [3, 3, 5]])
    y_pred = np.array([[1, 3, 1], [2, 2, 2], [3, 1, 3]])
    assert pearson(y_true[:, :1], y_pred[:, :1]) == pytest.approx(1.0)
    assert pearson(y_true, y_pred) == pytest.approx(0.0)
    assert spearman(y_true[:, ::2], y_pred[:, ::2]) == pytest.approx(1.0)
    assert mse(y_true, y_pred) == pytest.approx((4 + 0 + 4 + 16 + 9 + 4) / 9)


@pytest.mark.parametrize("metric", [mse, pearson, spearman])
def test_labels_and_predictions_may_differ_in_a_dimension_of_one(metric: Metric) -> None:
    y_true, y_pred = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 2.0])
    expected = metric(y_true, y_pred)
    assert expected == metric(y_true[:, None], y_pred) == metric(y_true, y_pred[:, None, None])


def test_metrics_of_profiles_and_counts_are_those_of_scipy_and_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.poisson(3.0, (6, 2, 9)), rng.random((6, 2, 9)) + 0.1
    rows = [(t, p) for t, p in zip(y_true.reshape(12, 9), y_pred.reshape(12, 9), strict=True)]
    assert profile_pearson(y_true, y_pred) == pytest.approx(
        np.mean([scipy.stats.pearsonr(t, p)[0] for t, p in rows])
    )
    assert cosine(y_true, y_pred) == pytest.approx(
        np.mean([1 - scipy.spatial.distance.cosine(t, p) for t, p in rows])
    )
    assert jensen_shannon(y_true, y_pred) == pytest.approx(
        np.mean([scipy.spatial.distance.jensenshannon(t, p) for t, p in rows])
    )
    shares = [(t / t.sum(), p / p.sum()) for t, p in rows]
    true, pred = (np.array(part) for part in zip(*shares, strict=True))
    assert kl_divergence(true, pred) == pytest.approx(
        np.mean([scipy.stats.entropy(*pair) for pair in shares])
    )
    assert poisson_deviance(y_true, y_pred) == pytest.approx(
        sklearn.metrics.mean_poisson_deviance(y_true.ravel(), y_pred.ravel())
    )


def test_a_rate_of_zero_is_right_for_no_count_alone() -> None:
    assert poisson_deviance([0, 0], [0.0, 0.0]) == 0.0
    assert poisson_deviance([0, 1], [0.0, 0.0]) == INFINITY
    assert math.isnan(poisson_deviance([0, 1], [-1.0, 1.0]))
    assert kl_divergence([[0.0, 1.0]], [[1.0, 0.0]]) == INFINITY


def test_profiles_without_counts_or_without_variation_do_not_count() -> None:
    y_true, y_pred = [[0, 0, 0], [1, 2, 3]], [[1.0, 2.0, 1.0], [1.0, 2.0, 3.0]]
    assert jensen_shannon(y_true, y_pred) == pytest.approx(0.0, abs=1e-7)
    assert profile_pearson(y_true, y_pred) == pytest.approx(1.0)
    assert cosine(y_true, y_pred) == pytest.approx(1.0)
    assert math.isnan(cosine([[0.0, 0.0]], [[1.0, 2.0]]))


# Missing labels.


@pytest.mark.parametrize("metric", [mse, pearson, spearman, poisson_deviance])
def test_a_label_that_is_missing_is_left_out_of_its_column(metric: Metric) -> None:
    y_true, y_pred = (
        np.array([[1.0, 2], [3, 1], [2, 5], [5, 4]]),
        np.array([[1.5, 2], [2, 2], [2.5, 4], [9, 3]]),
    )
    missing = y_true.copy()
    missing[3, 0] = NAN
    with_nan = np.where(np.isnan(missing), NAN, y_pred)  # whatever is predicted there
    assert metric(missing[:, 0], y_pred[:, 0]) == metric(y_true[:3, 0], y_pred[:3, 0])
    assert metric(missing, with_nan) == metric(missing, y_pred) != metric(y_true, y_pred)
    assert math.isnan(metric([NAN, NAN], [1.0, 2.0]))


@pytest.mark.parametrize("metric", [cosine, jensen_shannon, profile_pearson])
def test_a_position_that_is_missing_is_left_out_of_its_profile(metric: Metric) -> None:
    y_true, y_pred = np.array([[1.0, NAN, 2, 4], [NAN] * 4]), np.array([[1.0, 7, 3, 2], [1, 2, 3, 4]])
    assert metric(y_true, y_pred) == metric([[1.0, 2, 4]], [[1.0, 3, 2]])
    assert math.isnan(metric(y_true[1:], y_pred[1:]))


def test_a_distribution_of_which_a_part_is_missing_is_left_out() -> None:
    y_true = [[0.5, 0.5], [0.25, NAN]]
    assert kl_divergence(y_true, [[0.25, 0.75], [0.1, 0.9]]) == kl_divergence(y_true[:1], [[0.25, 0.75]])


# Not defined.


@pytest.mark.parametrize("metric", ALL)
def test_of_no_examples_no_metric_is_defined(metric: Metric) -> None:
    assert math.isnan(metric([], []))
    assert math.isnan(metric(np.zeros((0, 3)), np.zeros((0, 3))))


@pytest.mark.parametrize("metric", [auroc, auprc])
def test_an_area_is_not_defined_where_one_class_is_present(metric: Metric) -> None:
    assert math.isnan(metric([1, 1], [0.2, 0.8]))
    assert math.isnan(metric([0, 0], [0.2, 0.8]))
    assert math.isnan(metric([2, 2], [[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]))


@pytest.mark.parametrize("bad", [NAN, INFINITY])
@pytest.mark.parametrize("metric", [auroc, auprc, pearson])
def test_a_metric_is_not_defined_where_a_prediction_is_not_finite(metric: Metric, bad: float) -> None:
    assert math.isnan(metric([0, 1, 1], [0.2, bad, 0.8]))


@pytest.mark.parametrize("metric", [pearson, spearman])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e300])
def test_a_correlation_with_a_constant_is_not_defined(metric: Metric, constant: float) -> None:
    # Three times 0.1 has a mean of 0.10000000000000002, from which each differs.
    assert math.isnan(metric([constant] * 3, [1.0, 2.0, 4.0]))
    assert math.isnan(metric([1.0, 2.0, 4.0], [constant] * 3))
    assert math.isnan(metric([1.0], [2.0]))


# What does not go together.


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize(
    ("y_true", "y_pred"), [([0, 1, 1], [0.5]), ([0], [0.1, 0.2]), ([0, 1], np.zeros((1, 2)))]
)
def test_lengths_have_to_agree(metric: Metric, y_true: Any, y_pred: Any) -> None:
    with pytest.raises(
        DataError, match=r"y_true has the shape \(\d,\) and y_pred \(.*\); they have to agree"
    ):
        metric(y_true, y_pred)


@pytest.mark.parametrize("metric", [mse, pearson, spearman])
def test_numbers_of_columns_have_to_agree(metric: Metric) -> None:
    with pytest.raises(DataError, match=r"\(3, 2\) and y_pred \(3,\)"):
        metric(np.zeros((3, 2)), np.zeros(3))


@pytest.mark.parametrize("metric", CLASSIFICATION)
@pytest.mark.parametrize(
    ("y_true", "y_pred", "message"),
    [
        (
            [0, 1, 2],
            [0.1, 0.2, 0.3],
            r"holds the class 2, but y_pred, of shape \(3,\), is of the classes 0 to 1",
        ),
        ([-1, 1], [0.1, 0.2], "holds the class -1"),
        ([0, 3], np.zeros((2, 3)), "holds the class 3, .* 0 to 2"),
        ([0, NAN], [0.1, 0.2], "NaN or infinity, which is no class"),
        ([0, 1.4], [0.1, 0.2], "the labels hold 1.4, which is no class"),
        ([[0.0], [-0.3]], np.zeros((2, 2)), "the labels hold -0.3, which is no class"),
        ([0, 0.9], np.zeros((2, 3)), "the labels hold 0.9, which is no class"),
    ],
)
def test_a_label_of_no_class_is_refused(metric: Metric, y_true: Any, y_pred: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        metric(y_true, y_pred)


# Classes.


def test_labels_of_any_form_are_class_indexes() -> None:
    for y in ([0, 2, 1], [[0], [2], [1]], [[1, 0, 0], [0, 0, 1], [0, 1, 0]], [0.0, 2.0, 1.0]):
        assert class_index(y).tolist() == [0, 2, 1]
        assert class_index(y).dtype == np.int64
    assert class_index(np.array([True, False])).tolist() == [1, 0]
    assert class_index(np.array([0, 255], np.uint8)).tolist() == [0, 255]


def test_soft_labels_count_as_the_likeliest_class() -> None:
    assert class_index([0.05, 0.95]).tolist() == [0, 1]
    assert class_index([[0.6, 0.4], [0.1, 0.9]]).tolist() == [0, 1]
    assert accuracy([0.05, 0.95], [0.1, 0.9]) == 1.0


def test_the_class_predicted_is_the_likeliest() -> None:
    assert predicted_class([0.5, 0.51]).tolist() == [0, 1]
    assert predicted_class([[0.2], [0.8]]).tolist() == [0, 1]
    assert predicted_class([[0.1, 0.2, 0.7], [0.4, 0.3, 0.3]]).tolist() == [2, 0]


# Two columns.


@pytest.mark.parametrize("metric", CLASSIFICATION)
def test_two_columns_are_those_of_the_second(metric: Metric) -> None:
    y_true, scores = draw(1, 30, 2)
    expected = metric(y_true, scores[:, 1])
    assert 0.0 < expected < 1.0
    assert metric(y_true, scores) == metric(np.eye(2)[y_true], scores) == expected


@pytest.mark.parametrize("metric", CLASSIFICATION)
def test_two_logits_are_those_of_their_probabilities(metric: Metric) -> None:
    rng = np.random.default_rng(0)
    y_true, logits = rng.integers(0, 2, 30), rng.normal(size=(30, 2))
    assert metric(y_true, logits) == metric(y_true, scipy.special.softmax(logits, axis=1)[:, 1])


# Shapes and NaN, alike in all metrics.


@pytest.mark.parametrize("metric", [mse, pearson, spearman])
@pytest.mark.parametrize(("true", "pred"), [((4, 2, 3), (4, 3, 2)), ((4, 6), (4, 2, 3)), ((4, 3), (4, 1, 2))])
def test_arrays_of_one_size_and_another_shape_are_refused(metric: Metric, true: Any, pred: Any) -> None:
    with pytest.raises(DataError, match="they have to agree"):
        metric(np.arange(np.prod(true)).reshape(true), np.arange(np.prod(pred)).reshape(pred))


def test_labels_may_differ_from_their_probabilities_in_a_dimension_of_one() -> None:
    assert per_label(accuracy, [0, 1], [[0.2], [0.4]]) == {"label_0": 0.5}


CLASSES_OF_TWO = ([0, 1, 1], [0.2, 0.6, 0.8])
CLASSES_OF_THREE = ([0, 1, 2, 1], [[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7], [0.3, 0.4, 0.3]])
LABELS = ([[1, 1], [0, 1], [1, 0]], [[0.9, 0.2], [0.3, 0.8], [0.6, 0.4]])
NUMBERS = ([[1.0, 2.0], [3.0, 1.0], [2.0, 5.0]], [[1.5, 2.0], [2.0, 2.0], [2.5, 4.0]])


NAN_CASES: list[tuple[Metric, Any]] = [
    *((metric, form) for metric in CLASSIFICATION for form in (CLASSES_OF_TWO, CLASSES_OF_THREE, LABELS)),
    *((metric, NUMBERS) for metric in OF_VALUES),
]


@pytest.mark.parametrize(("metric", "form"), NAN_CASES)
def test_a_prediction_of_nan_makes_every_metric_undefined(metric: Metric, form: Any) -> None:
    y_true, y_pred = np.array(form[0]), np.array(form[1])
    assert math.isfinite(metric(y_true, y_pred))
    y_pred[0] = NAN if y_pred.ndim == 1 else [NAN, *y_pred[0, 1:]]
    assert math.isnan(metric(y_true, y_pred))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mse("x", [1.0]), "y_true is 'x'; it has to be an array of numbers"),
        (lambda: pearson([1.0, 2.0], {"a": 1}), "y_pred is {'a': 1}; it has to be an array of numbers"),
        (lambda: mse([1.0], [1j]), r"y_pred is \[1j\]"),
        (lambda: auroc([0, 1], ["a", "b"]), r"y_pred is \['a', 'b'\]"),
        (lambda: accuracy([[1], [1, 2]], [1.0, 0.0]), r"y_true is \[\[1\], \[1, 2\]\]"),
        (lambda: per_class("auroc", [0, 1], [0.1, 0.9]), "metric is 'auroc'; it has to be a function"),
        (lambda: per_label(None, [[0, 1]], [[0.1, 0.9]]), "metric is None"),
        (lambda: per_class(accuracy, [0, 1], [0.1, 0.9], names="ab"), "names is 'ab'; it has to be a list"),
        (lambda: per_label(accuracy, [[0, 1]], [[0.1, 0.9]], names=[1, 2]), "names has 1; the name of each"),
    ],
)
def test_arguments_of_a_wrong_type_are_told_by_name(call: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        call()


def test_what_is_reported_of_classes() -> None:
    y_pred = [[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7]]
    found = of_classes([0, 0, 1, 1, 2], y_pred, ["helix", "sheet", "coil"])
    assert found == pytest.approx(
        {
            "accuracy": 0.6,
            "auroc": (5 / 6 + 5 / 6 + 1) / 3,
            "auroc_median": 5 / 6,
            "accuracy_helix": 0.5,
            "accuracy_sheet": 0.5,
            "accuracy_coil": 1.0,
        }
    )


def test_a_class_without_examples_has_no_accuracy_and_no_part_in_the_median() -> None:
    found = of_classes([0, 1], [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]])
    assert np.isnan(found["accuracy_class_2"]) and found["auroc_median"] == 1.0


def test_of_many_classes_none_is_told_by_itself() -> None:
    assert set(of_classes(np.arange(21), np.eye(21))) == {"accuracy", "auroc", "auroc_median"}
