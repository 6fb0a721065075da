"""Base-resolution profiles: where reads lie, and how many there are."""

from argparse import Namespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

from batch_generator import MatrixBatchGenerator
from helixband import ProfileModel
from helixband.errors import DataError, DefinitionError
from helixband.losses import MultinomialLoss
from helixband.networks.one_hot import OneHot

NAN = float("nan")


class Given(nn.Module):
    """The same profile and count for each example."""

    def __init__(self, profile: Any, log_count: Any) -> None:
        super().__init__()
        self.profile, self.log_count = (nn.Parameter(torch.tensor(each)) for each in (profile, log_count))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        parts = {"profile": self.profile, "log_count": self.log_count}
        return {name: each.expand(len(x), *each.shape) for name, each in parts.items()}


def model_of(network: nn.Module, criterion: Any = None, **options: Any) -> ProfileModel:
    class Model(ProfileModel):
        def init_model(self) -> None:
            super().init_model(network, criterion, optim.Adam(network.parameters(), 0.02), **options)

    return Model({}, Namespace(cpu=True, batch_size=50, seed=0))


LOG_SHARES = np.log([0.1, 0.2, 0.3, 0.4]).astype(np.float32)
NINE = float(np.log1p(9.0))


def test_y_pred_is_the_expected_counts() -> None:
    y_pred = model_of(Given(LOG_SHARES, NINE)).predict(np.zeros((2, 3), np.float32))
    assert y_pred == pytest.approx(np.array([[0.9, 1.8, 2.7, 3.6]] * 2), rel=1e-5)


def test_equal_predicted_counts_have_no_correlation() -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(500), 20)
    y_pred = (shares * 20).astype(np.float32)  # its sums differ in the last digits
    y = np.random.default_rng(1).poisson(1.0, (20, 500))
    assert len(set(y_pred.sum(1).tolist())) > 1
    assert np.isnan(model_of(Given(LOG_SHARES, NINE)).eval_metrics(y, y_pred)["count_pearson"])


def test_the_loss_is_that_of_where_and_of_how_many() -> None:
    y = np.array([[1.0, 0, 2, 5], [0, 0, 0, 3], [0, 0, 0, 0]])
    of_profile = -(y * np.log([0.1, 0.2, 0.3, 0.4])).sum(1).mean()
    of_count = ((np.log1p(y.sum(1)) - np.log1p(9)) ** 2).mean()
    model = model_of(Given(LOG_SHARES, NINE), count_weight=2.0)
    for batch_size in (None, 2):
        found = model.evaluate(MatrixBatchGenerator(np.zeros((3, 3), np.float32), y, batch_size))
        assert found.profile_loss == pytest.approx(of_profile, rel=1e-5)
        assert found.count_loss == pytest.approx(2 * of_count, rel=1e-5)
        assert found.loss == pytest.approx(of_profile + 2 * of_count, rel=1e-5)


def test_a_base_without_a_count_is_left_out_and_with_it_the_total() -> None:
    y = np.array([[1.0, NAN, 2, 5], [0, 0, 0, 3]])
    data = MatrixBatchGenerator(np.zeros((2, 3), np.float32), y, allow_nan=True)
    found = model_of(Given(LOG_SHARES, NINE)).evaluate(data)
    p = np.array([0.1, 0.3, 0.4]) / 0.8
    of_profile = (-(np.array([1, 2, 5]) * np.log(p)).sum() - 3 * np.log(0.4)) / 2
    assert found.profile_loss == pytest.approx(of_profile, rel=1e-5)
    assert found.count_loss == pytest.approx((np.log1p(3) - np.log1p(9)) ** 2, rel=1e-5)


def test_bases_in_random_order_are_those_that_have_a_count() -> None:
    model = model_of(Given(LOG_SHARES, NINE))
    equal = np.array([[2.0, 2, NAN, NAN]] * 50)
    assert model.eval_metrics(equal, np.ones((50, 4)))["jensen_shannon_shuffled"] == 0.0
    two = np.array([[3.0, 0, NAN, NAN, NAN, NAN]] * 2000)  # half of the time in their own order
    found = model.eval_metrics(two, np.ones((2000, 6)))["jensen_shannon_shuffled"]
    assert found == pytest.approx(0.5 * np.sqrt(np.log(2)), rel=0.05)


class Own(nn.Module):
    """A log count of each base, given as x, (N, L)."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"profile": x, "log_count": x.exp().sum(1).log1p()}


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8])
def test_windows_of_unequal_lengths_have_the_counts_of_their_own_bases(dtype: Any) -> None:
    class Model(ProfileModel):
        def init_model(self) -> None:
            super().init_model(Own())

    long, short = [[1, 0, 2, 5], [0, 3, 1, 0]], [[9, 0, 0], [1, 1, 0]]
    y = [np.array(each, dtype) for each in (long, short)]
    rates = [[2, 1, 3, 3], [1, 2, 1, 1]], [[4, 4, 4], [1, 1, 6]]
    batches = list(zip([np.log(np.array(each, np.float32)) for each in rates], y, strict=True))
    found = Model().evaluate(batches)
    expected = np.corrcoef(np.log1p([8, 4, 9, 2]), np.log1p([9, 5, 12, 8]))[0, 1]
    assert found.count_pearson == pytest.approx(expected, abs=1e-5)
    assert found.loss == pytest.approx(np.mean([Model().evaluate([each]).loss for each in batches]))


def test_a_base_without_a_count_leaves_the_total_of_a_shorter_window_unknown() -> None:
    y = np.array([[1.0, 1, 1, 1], [3, 3, 3, NAN], [4, NAN, 4, NAN], [1, 1, NAN, NAN], [2, 2, 2, 2]])
    y_pred = np.array([[1.0] * 4, [2, 2, 2, NAN], [9, 9, 9, NAN], [2, 3, NAN, NAN], [2, 2, 2, 1]])
    found = model_of(Given(LOG_SHARES, NINE)).eval_metrics(y, y_pred)["count_pearson"]
    expected = np.corrcoef(np.log1p([4, 9, 2, 8]), np.log1p([4, 6, 5, 7]))[0, 1]
    assert found == pytest.approx(expected, abs=1e-5)


def test_tracks_are_profiles_of_their_own() -> None:
    y = np.array([[[1.0, 0, 2, 5], [4, 0, 0, 0]]])
    model = model_of(Given([LOG_SHARES.tolist(), LOG_SHARES[::-1].tolist()], [NINE, 1.0]))
    data = MatrixBatchGenerator(np.zeros((1, 3), np.float32), y)
    shares = np.array([0.1, 0.2, 0.3, 0.4])
    of_profile = -((y[0, 0] * np.log(shares)).sum() + 4 * np.log(0.4)) / 2
    assert model.evaluate(data).profile_loss == pytest.approx(of_profile, rel=1e-5)
    assert model.predict(data)[0, 1].sum() == pytest.approx(np.expm1(1.0), rel=1e-5)


def test_one_track_may_be_a_dimension_or_none() -> None:
    y = np.array([[1.0, 0, 2, 5], [4, 0, 0, 3]])
    x = np.zeros((2, 3), np.float32)
    plain = model_of(Given(LOG_SHARES, NINE)).evaluate(MatrixBatchGenerator(x, y))
    of_track = model_of(Given([LOG_SHARES.tolist()], [NINE]))
    assert dict(of_track.evaluate(MatrixBatchGenerator(x, y))) == pytest.approx(dict(plain), nan_ok=True)


class Footprints(nn.Module):
    """Profiles and counts by what stands around each base."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(OneHot(), nn.Conv1d(4, 16, 5, padding=2), nn.ReLU())
        self.profile = nn.Conv1d(16, 1, 5, padding=2)
        self.count = nn.Linear(16, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found = self.features(x)
        return {"profile": self.profile(found).squeeze(1), "log_count": self.count(found.amax(2))}


def footprints(rows: int, seed: int) -> tuple[np.ndarray[Any, Any], ...]:
    """(x, counts, their means): 30 reads around each GAT, and 0.3 at each base besides."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 4, (rows, 30), np.uint8)
    x[:, 13:16] = np.where(rng.random((rows, 1)) < 0.5, [2, 0, 3], x[:, 13:16])
    is_site = np.zeros(x.shape)
    is_site[:, 1:-1] = (x[:, :-2] == 2) & (x[:, 1:-1] == 0) & (x[:, 2:] == 3)
    rate = 0.3 + 20 * is_site
    rate[:, 1:] += 10 * is_site[:, :-1]
    return x, rng.poisson(rate).astype(float), rate


def test_planted_footprints_are_found() -> None:
    torch.manual_seed(0)
    model = model_of(Footprints())
    x, y, rate = footprints(200, 1)
    train = MatrixBatchGenerator(*footprints(400, 0)[:2], 40, shuffle=True)
    val = MatrixBatchGenerator(x, y)
    model.fit(train, val, 12)
    found, optimum = model.evaluate(val), model.eval_metrics(y, rate)
    assert found.jensen_shannon < 1.05 * optimum["jensen_shannon"]
    assert found.jensen_shannon < 0.6 * found.jensen_shannon_shuffled
    assert found.count_pearson > 0.9 * optimum["count_pearson"]


@pytest.mark.parametrize(
    ("y", "told"),
    [
        (np.zeros(3), r"the labels are an array \(3,\) of float64; they have to be counts"),
        (np.zeros((3, 2, 2, 4)), r"the labels are an array \(3, 2, 2, 4\)"),
        (np.array([["a"] * 4] * 3), r"of <U1"),
        ([np.zeros((3, 4))], "the labels are a list"),
        (np.array([[1, 0, -2, 0]] * 3), r"-2"),
    ],
)
def test_labels_that_are_no_counts_are_refused(y: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        model_of(Given(LOG_SHARES, NINE)).check_labels(y)


def test_a_profile_of_another_length_is_refused() -> None:
    data = MatrixBatchGenerator(np.zeros((3, 3), np.float32), np.zeros((3, 5)))
    with pytest.raises(DefinitionError, match=r"y has the shape \(3, 5\) and the prediction \(3, 4\)"):
        model_of(Given(LOG_SHARES, NINE)).evaluate(data)


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (nn.Identity(), "the network gave Tensor.*; a ProfileModel needs a dict of 'profile'"),
        (
            Given(LOG_SHARES, [1.0, 2.0]),
            r"profile of shape \(2, 4\) and a log_count of shape \(2, 2\); .* \(2,\)",
        ),
    ],
)
def test_outputs_that_are_not_both_parts_are_refused(network: nn.Module, told: str) -> None:
    class Model(ProfileModel):
        def init_model(self) -> None:
            super().init_model(network)

    with pytest.raises(DefinitionError, match=told):
        Model().predict(np.zeros((2, 3), np.float32))


def test_another_criterion_or_weight_is_refused() -> None:
    with pytest.raises(
        DefinitionError, match="the criterion is MSELoss.*; a ProfileModel takes a Multinomial"
    ):
        model_of(Given(LOG_SHARES, NINE), nn.MSELoss())
    with pytest.raises(DefinitionError, match="count_weight is -1; it has to be a number from 0"):
        model_of(Given(LOG_SHARES, NINE), count_weight=-1)

    class Negative(ProfileModel):
        count_weight = -0.5

        def init_model(self) -> None:
            super().init_model(Given(LOG_SHARES, NINE))

    with pytest.raises(DefinitionError, match="count_weight is -0.5; it has to be a number from 0"):
        Negative()
    assert model_of(Given(LOG_SHARES, NINE), MultinomialLoss(full=True)).criterion.full
