"""The losses, against SciPy, PyTorch and double precision, with labels that are missing, and as criteria."""

import itertools
import math
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

from base_model import BaseModel, ClassificationModel, MultiLabelModel, RegressionModel
from batch_generator import MatrixBatchGenerator
from helixband.errors import DataError, DefinitionError
from helixband.losses import (
    BinaryFocalLoss,
    BinaryLabelSmoothingLoss,
    CosineLoss,
    FocalLoss,
    IgnoreMissing,
    KLDivergenceLoss,
    LabelSmoothingLoss,
    MaskedLoss,
    MultinomialLoss,
    NegativeBinomialLoss,
    NeighbourLoss,
    PearsonLoss,
    PoissonLoss,
    soft_bins,
)
from helixband.losses.negative_binomial import NegativeBinomial

NAN = math.nan
N, C, L = 13, 3, 5
RNG = np.random.default_rng(0)


def normal(*shape: int) -> Tensor:
    return torch.from_numpy(RNG.normal(size=shape)).float()


def counts(*shape: int) -> Tensor:
    return torch.from_numpy(RNG.poisson(4, shape)).float()


HOT = torch.from_numpy(RNG.integers(0, 2, (N, C))).float()
CLASS = torch.from_numpy(RNG.integers(0, C, N))
SOFT = normal(N, L).softmax(-1)

CASES: dict[str, tuple[MaskedLoss, Tensor, Tensor]] = {
    "binary focal": (BinaryFocalLoss(1.5, 0.3), normal(N, C), HOT),
    "binary smoothing": (BinaryLabelSmoothingLoss(0.2, [1.0, 2.0, 3.0]), normal(N, C), HOT),
    "focal": (FocalLoss(2.0, [0.0, 1.0, 2.0]), normal(N, C), CLASS),
    "focal along a profile": (FocalLoss(2.0), normal(N, C, L), torch.stack([CLASS] * L, 1)),
    "smoothing": (LabelSmoothingLoss(0.1), normal(N, C), CLASS),
    "neighbours": (NeighbourLoss(2.0), normal(N, C, L), torch.stack([CLASS] * L, 1)),
    "poisson": (PoissonLoss(), normal(N, C), counts(N, C)),
    "poisson by softplus": (PoissonLoss("softplus", full=True), normal(N, C), counts(N, C)),
    "negative binomial": (NegativeBinomialLoss(), normal(N, C, 2), counts(N, C)),
    "dispersion": (NegativeBinomialLoss([0.1, 1.0, 3.0], learned=True), normal(N, C), counts(N, C)),
    "multinomial": (MultinomialLoss(full=True), normal(N, C, L), counts(N, C, L)),
    "divergence": (KLDivergenceLoss(), normal(N, L), SOFT),
    "pearson": (PearsonLoss(), normal(N, C), normal(N, C)),
    "pearson along a profile": (PearsonLoss(dim=-1), normal(N, C, L), normal(N, C, L)),
    "cosine": (CosineLoss(), normal(N, L), normal(N, L)),
    "huber": (IgnoreMissing(nn.HuberLoss()), normal(N, C), normal(N, C)),
}
cases = pytest.mark.parametrize(("loss", "input", "target"), CASES.values(), ids=CASES)


def with_missing(target: Tensor) -> Tensor:
    """Every seventh value missing, and all of the first example."""
    values = target.double().clone()
    values.flatten()[::7] = NAN
    values[0] = NAN
    return values


# The values.


def sigmoid_focal(logits: Tensor, y: Tensor, alpha: float, gamma: float) -> Tensor:
    """As torchvision has it, in double precision."""
    logits, y = logits.double(), y.double()
    p = torch.sigmoid(logits)
    ce = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
    loss = ce * (1 - (p * y + (1 - p) * (1 - y))) ** gamma
    return (loss * (alpha * y + (1 - alpha) * (1 - y))).mean()


def test_the_binary_focal_loss_is_that_of_the_paper() -> None:
    logits = normal(N, C)
    assert BinaryFocalLoss(2.0, 0.25)(logits, HOT).item() == pytest.approx(
        sigmoid_focal(logits, HOT, 0.25, 2.0).item(), rel=1e-5
    )
    assert BinaryFocalLoss(0.0)(logits, HOT).item() == pytest.approx(
        F.binary_cross_entropy_with_logits(logits, HOT).item(), rel=1e-6
    )
    # p = 0.5: −(1 − 0.5)² log 0.5
    assert BinaryFocalLoss()(torch.zeros(1), torch.ones(1)).item() == pytest.approx(0.25 * math.log(2))


def test_the_focal_loss_of_classes_is_that_of_the_true_class() -> None:
    logits, weights = normal(N, C), torch.tensor([0.5, 1.0, 2.0])
    p = logits.double().softmax(1)[torch.arange(N), CLASS]
    expected = (weights[CLASS] * -p.log() * (1 - p) ** 1.5).mean().item()
    loss = FocalLoss(1.5, weights)
    assert loss(logits, CLASS).item() == pytest.approx(expected, rel=1e-5)
    assert loss(logits, F.one_hot(CLASS, C)).item() == pytest.approx(expected, rel=1e-5)
    assert FocalLoss(0)(logits, CLASS).item() == pytest.approx(F.cross_entropy(logits, CLASS).item())


def test_smoothing_is_that_of_torch() -> None:
    logits, profile = normal(N, C), normal(N, C, L)
    expected = F.cross_entropy(logits, CLASS, label_smoothing=0.2).item()
    assert LabelSmoothingLoss(0.2)(logits, CLASS).item() == pytest.approx(expected, rel=1e-6)
    of_profile = torch.stack([CLASS] * L, 1)
    assert LabelSmoothingLoss(0.2)(profile, of_profile).item() == pytest.approx(
        F.cross_entropy(profile, of_profile, label_smoothing=0.2).item(), rel=1e-6
    )
    smooth = HOT * 0.8 + 0.1
    assert BinaryLabelSmoothingLoss(0.2)(logits, HOT).item() == pytest.approx(
        F.binary_cross_entropy_with_logits(logits, smooth).item(), rel=1e-6
    )


def test_errors_beside_errors_weigh_more() -> None:
    p = torch.tensor([0.8, 0.5, 0.2, 0.9])  # of the true class, 0
    logits, y = torch.stack([p, 1 - p]).log()[None], torch.zeros(1, 4).long()
    near = torch.tensor([0.5, (0.2 + 0.8) / 2, (0.5 + 0.1) / 2, 0.8])
    assert NeighbourLoss(2.0)(logits, y).item() == pytest.approx((-p.log() * (1 + 2 * near)).mean().item())
    assert NeighbourLoss(0.0)(logits, y).item() == pytest.approx(F.cross_entropy(logits, y).item())
    far = torch.tensor([(0.5 + 0.8) / 2, (0.2 + 0.8 + 0.1) / 3, (0.2 + 0.5 + 0.1) / 3, (0.5 + 0.8) / 2])
    assert NeighbourLoss(1.0, reach=2)(logits, y).item() == pytest.approx(
        (-p.log() * (1 + far)).mean().item()
    )


def test_neighbours_without_a_label_do_not_count() -> None:
    p = torch.tensor([0.8, 0.5, 0.2])
    logits, y = torch.stack([p, 1 - p]).log()[None], torch.tensor([[0, -100, 0]])
    assert NeighbourLoss(2.0)(logits, y).item() == pytest.approx((-p.log()[[0, 2]]).mean().item())
    logits, y = logits.expand(2, -1, -1), torch.tensor([[0, 0, -100], [0, 0, -100]])
    near = torch.tensor([0.5, 0.2])
    assert NeighbourLoss(1.0)(logits, y).item() == pytest.approx((-p.log()[:2] * (1 + near)).mean().item())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"reach": 0}, "reach is 0; .* from 1"),
        ({"reach": 1.5}, "reach is 1.5"),
        ({"weight": -1}, "weight is -1"),
    ],
)
def test_a_neighbour_loss_that_cannot_be_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        NeighbourLoss(**options)


def test_the_poisson_loss_is_that_of_scipy_and_torch() -> None:
    log_rate, y = normal(N, C), counts(N, C)
    full = -scipy.stats.poisson.logpmf(y.numpy(), np.exp(log_rate.double().numpy())).mean()
    assert PoissonLoss(full=True)(log_rate, y).item() == pytest.approx(full, rel=1e-6)
    assert PoissonLoss()(log_rate, y).item() == pytest.approx(F.poisson_nll_loss(log_rate, y).item())
    rate = F.softplus(log_rate)
    assert PoissonLoss("softplus")(log_rate, y).item() == pytest.approx(
        F.poisson_nll_loss(rate, y, log_input=False, eps=0).item(), rel=1e-6
    )


def exact_negative_binomial(log_mean: float, log_dispersion: float, y: float) -> float:
    with mpmath.workdps(60):
        mean, theta = mpmath.exp(log_mean), mpmath.exp(-log_dispersion)
        log_p = mpmath.loggamma(y + theta) - mpmath.loggamma(theta) - mpmath.loggamma(y + 1)
        log_p += theta * mpmath.log(theta / (theta + mean)) + y * mpmath.log(mean / (theta + mean))
        return float(-log_p)


def negative_binomial(log_mean: Any, log_dispersion: Any, y: Any) -> Any:
    mean, theta = np.exp(np.asarray(log_mean, float)), np.exp(-np.asarray(log_dispersion, float))
    return -scipy.stats.nbinom.logpmf(y, theta, theta / (theta + mean))


def test_the_negative_binomial_loss_is_that_of_scipy() -> None:
    outputs, y = normal(N, C, 2), counts(N, C)
    expected = negative_binomial(outputs[..., 0], outputs[..., 1], y).mean()
    assert NegativeBinomialLoss()(outputs, y).item() == pytest.approx(expected, rel=1e-6)
    fixed = negative_binomial(outputs[..., 0], math.log(0.3), y).mean()
    assert NegativeBinomialLoss(0.3)(outputs[..., 0], y).item() == pytest.approx(fixed, rel=1e-6)


def test_the_negative_binomial_loss_has_the_slopes_of_torch_in_pieces_and_with_what_columns_share() -> None:
    log_mean, y = normal(40, 1000).double(), counts(40, 1000).double()  # more than is computed at once
    for shape in ((40, 1000), (1000,), ()):
        found, expected = (
            (log_mean.clone().requires_grad_(), torch.full(shape, -0.5).double().requires_grad_())
            for _ in "ab"
        )
        NegativeBinomial.apply(found[0], found[1].expand(40, 1000), y).mean().backward()  # type: ignore
        theirs = torch.distributions.NegativeBinomial(torch.exp(-expected[1]), logits=sum(expected))
        (-theirs.log_prob(y).mean()).backward()
        for one, other in zip(found, expected, strict=True):
            assert one.grad is not None and other.grad is not None
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-9, atol=1e-14)


def test_the_multinomial_loss_is_that_of_scipy() -> None:
    logits, y = normal(N, L), counts(N, L)
    p = logits.double().softmax(-1).numpy()
    expected = -scipy.stats.multinomial.logpmf(y.numpy(), y.sum(-1).numpy(), p / p.sum(-1, keepdims=True))
    assert MultinomialLoss(full=True)(logits, y).item() == pytest.approx(expected.mean(), rel=1e-5)
    plain = -(y * logits.log_softmax(-1)).sum(-1).mean()
    assert MultinomialLoss()(logits, y).item() == pytest.approx(plain.item(), rel=1e-6)
    assert MultinomialLoss(full=True)(logits[:1], torch.zeros(1, L)).item() == 0.0


def test_the_divergence_is_that_of_scipy() -> None:
    logits = normal(N, L)
    expected = scipy.stats.entropy(SOFT.double().numpy(), logits.double().softmax(-1).numpy(), axis=-1).mean()
    assert KLDivergenceLoss()(logits, SOFT).item() == pytest.approx(expected, rel=1e-5)
    hard = F.one_hot(CLASS, C).float()
    of_classes = normal(N, C)
    assert KLDivergenceLoss()(of_classes, hard).item() == pytest.approx(
        F.cross_entropy(of_classes, CLASS).item(), rel=1e-6
    )


def test_correlation_and_cosine_are_those_of_scipy_and_torch() -> None:
    x, y = normal(N, C), normal(N, C)
    r = [scipy.stats.pearsonr(x[:, k], y[:, k])[0] for k in range(C)]
    assert PearsonLoss()(x, y).item() == pytest.approx(1 - np.mean(r), rel=1e-5)
    assert PearsonLoss(dim=-1)(x.T, y.T).item() == pytest.approx(1 - np.mean(r), rel=1e-5)
    assert CosineLoss()(x, y).item() == pytest.approx(1 - F.cosine_similarity(x, y).mean().item(), rel=1e-5)


def test_soft_bins_are_shares_of_a_normal_distribution() -> None:
    edges = [0.5, 1.5, 2.5]
    cdf = scipy.stats.norm.cdf([-np.inf, *edges, np.inf], loc=1.2, scale=0.5)
    bins = soft_bins(torch.tensor([1.2, NAN, 20.0], dtype=torch.float64), edges, 0.5)
    assert bins[0].tolist() == pytest.approx(np.diff(cdf).tolist(), rel=1e-9)
    assert bins[1].isnan().all()
    whole = soft_bins(torch.tensor([1]), edges, 0.5)
    assert whole.tolist() == soft_bins(torch.tensor([1.0]), edges, 0.5).tolist()
    upper = scipy.stats.norm.sf([1.5, 2.5], loc=20, scale=0.5)
    assert bins[2, 2].item() == pytest.approx(0.0, abs=1e-200)
    far = soft_bins(torch.tensor([-20.0]), edges, 0.5)[0]
    assert far[0] == 1 and far[3].item() == 0 and upper[0] == 1


# Extreme outputs.


def as_double(loss: Any, *parts: Tensor) -> float:
    return float(loss(*(part.detach().double() for part in parts)))


@pytest.mark.parametrize("logit", [-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4])
@pytest.mark.parametrize(
    ("loss", "form"),
    [
        (BinaryFocalLoss(0.5), "binary"),
        (BinaryFocalLoss(2.0, 0.25), "binary"),
        (BinaryLabelSmoothingLoss(), "binary"),
        (FocalLoss(0.5), "classes"),
        (LabelSmoothingLoss(), "classes"),
    ],
)
def test_extreme_logits_have_the_value_of_double_precision_and_a_gradient(
    loss: MaskedLoss, form: str, logit: float
) -> None:
    for label in (0, 1):
        if form == "binary":
            input, target = torch.tensor([logit]), torch.tensor([float(label)])
        else:
            input, target = torch.tensor([[logit, 0.0, -logit]]), torch.tensor([label])
        input.requires_grad_()
        value = loss(input, target)
        value.backward()
        assert value.item() == pytest.approx(as_double(loss, input, target), rel=1e-5, abs=1e-37)
        assert input.grad is not None and input.grad.isfinite().all()


def test_the_focal_loss_of_a_good_prediction_is_not_rounded_to_nothing() -> None:
    good = torch.tensor([20.0], requires_grad=True)  # 1 − p is 2.06e-9, and 0 where it is rounded
    value = BinaryFocalLoss(0.5)(good, torch.ones(1))
    value.backward()
    assert value.item() == pytest.approx(math.exp(-20) ** 1.5, rel=1e-4)
    assert good.grad is not None and good.grad.item() == pytest.approx(-1.5 * math.exp(-30), rel=1e-3)
    classes = FocalLoss(0.5)(torch.tensor([[20.0, 0.0]]), torch.tensor([0]))
    assert classes.item() == pytest.approx(math.exp(-20) ** 1.5, rel=1e-4)


@pytest.mark.parametrize("y", [0.0, 1.0, 9.0, 11.0, 1e3, 1e6])
@pytest.mark.parametrize("away", [-30.0, -1.0, -1e-3, 0.0, 1e-2, 1.0, 30.0])
def test_the_poisson_likelihood_holds_for_all_counts(y: float, away: float) -> None:
    input = torch.tensor([math.log(max(y, 1)) + away])
    log_rate = input.double().item()
    expected = -scipy.stats.poisson.logpmf(y, np.exp(log_rate))
    # A float's rounding of the logarithm of the rate moves the value by as much of the slope.
    slope = abs(math.exp(log_rate) - y) * 1e-6
    assert PoissonLoss(full=True)(input, torch.tensor([y])).item() == pytest.approx(
        expected, rel=2e-6, abs=slope + 1e-6
    )


@pytest.mark.parametrize("z", [-80.0, -20.0, -9.99, -10.01, 0.0, 30.0, 1e4])
def test_a_softplus_rate_has_a_logarithm_wherever_it_is(z: float) -> None:
    input = torch.tensor([z], requires_grad=True)
    value = PoissonLoss("softplus")(input, torch.tensor([3.0]))
    value.backward()
    rate = np.logaddexp(np.float64(np.float32(z)), 0)
    assert value.item() == pytest.approx(rate - 3 * math.log(rate), rel=1e-5)
    slope = (1 - 3 / rate) * scipy.special.expit(z)
    assert input.grad is not None and input.grad.item() == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize("y", [0.0, 1.0, 9.0, 11.0, 300.0, 1e5])
@pytest.mark.parametrize(
    ("away", "log_dispersion"), list(itertools.product([-20.0, -1.0, 0.0, 1e-2, 3.0], [-12.0, -3, 0, 4, 12]))
)
def test_the_negative_binomial_likelihood_holds_for_all_counts(
    y: float, away: float, log_dispersion: float
) -> None:
    input = torch.tensor([[math.log(max(y, 1)) + away, log_dispersion]], requires_grad=True)
    value = NegativeBinomialLoss()(input, torch.tensor([y]))
    value.backward()
    wide = input.detach().double().requires_grad_()
    exact = NegativeBinomialLoss()(wide, torch.tensor([y]).double())
    exact.backward()
    expected = exact_negative_binomial(*wide.detach().numpy()[0].tolist(), y)
    assert exact.item() == pytest.approx(expected, rel=1e-8, abs=1e-12)
    assert wide.grad is not None and input.grad is not None
    # A float's rounding of log μ moves the value by as much of the slope, and the slope as below.
    slope = 1e-6 * wide.grad.abs().sum().item()
    assert value.item() == pytest.approx(exact.item(), rel=1e-5, abs=2e-6 + slope)
    curve = 1e-6 * y / (1 + math.exp(log_dispersion) * y)
    assert input.grad.numpy() == pytest.approx(wide.grad.numpy(), rel=1e-3, abs=curve + 2e-6 + slope)


@pytest.mark.parametrize("log_dispersion", [-100.0, -60.0, 60.0, 100.0])
@pytest.mark.parametrize("y", [0.0, 5.0, 1e4])
def test_a_dispersion_at_the_ends_has_a_value_and_a_gradient(y: float, log_dispersion: float) -> None:
    input = torch.tensor([[1.0, log_dispersion]], requires_grad=True)
    value = NegativeBinomialLoss()(input, torch.tensor([y]))
    value.backward()
    assert input.grad is not None and input.grad.isfinite().all()
    if log_dispersion < 0:
        poisson = PoissonLoss(full=True)(torch.tensor([1.0]), torch.tensor([y])).item()
        assert value.item() == pytest.approx(poisson, rel=1e-5)
    else:
        wide = NegativeBinomialLoss()(input.double(), torch.tensor([y]).double()).item()
        assert value.item() == pytest.approx(wide, rel=1e-5)


@pytest.mark.parametrize("y", [0.0, 0.3, 1.0, 5.0, 1e3, 1e7])
def test_a_negative_binomial_loss_has_a_gradient_wherever_its_outputs_are(y: float) -> None:
    ends = torch.tensor([-300.0, -90, -30, -1, 0, 1, 30, 90, 300])
    outputs = torch.cartesian_prod(ends, ends).requires_grad_()
    value = NegativeBinomialLoss()(outputs, torch.full((81,), y))
    value.backward()
    assert value.isfinite() and outputs.grad is not None and outputs.grad.isfinite().all()


def test_the_multinomial_likelihood_of_many_counts_is_exact() -> None:
    p = np.full(1000, 1e-3)
    y = np.random.default_rng(0).multinomial(10**6, p)
    expected = -scipy.stats.multinomial.logpmf(y, 10**6, p)
    found = MultinomialLoss(full=True)(torch.zeros(1, 1000), torch.from_numpy(y[None]).float()).item()
    assert found == pytest.approx(expected, rel=1e-4)


def test_logits_far_apart_leave_a_profile_and_a_divergence_finite() -> None:
    logits = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
    for loss, y in ((MultinomialLoss(full=True), [2.0, 0, 1]), (KLDivergenceLoss(), [0.5, 0, 0.5])):
        value = loss(logits, torch.tensor([y]))
        value.backward()
        assert value.item() == pytest.approx(as_double(loss, logits, torch.tensor([y])), rel=1e-5)
    assert logits.grad is not None and logits.grad.isfinite().all()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_similarities_do_not_depend_on_the_scale(scale: float) -> None:
    x, y = normal(N, C), normal(N, C)
    for loss in (PearsonLoss(), CosineLoss()):
        given = (x * scale).requires_grad_()
        value = loss(given, y)
        value.backward()
        assert value.item() == pytest.approx(loss(x, y).item(), rel=1e-5)
        assert given.grad is not None and given.grad.isfinite().all()


def test_a_large_mean_does_not_spoil_a_correlation() -> None:
    x, y = torch.arange(8.0), torch.tensor([3.0, 1, 4, 1, 5, 9, 2, 6])
    assert PearsonLoss()(x + 1e6, y).item() == pytest.approx(PearsonLoss()(x, y).item(), abs=1e-6)


def test_what_has_no_direction_counts_as_unlike_or_not_at_all() -> None:
    constant, x = torch.full((4,), 0.1, requires_grad=True), torch.tensor([1.0, 2, 4, 3])
    value = PearsonLoss()(constant, x)
    value.backward()
    assert value.item() == 1.0 and constant.grad is not None and constant.grad.isfinite().all()
    two = torch.stack([x, torch.full((4,), 0.1)], 1)
    assert PearsonLoss()(two, two).item() == pytest.approx(0.0, abs=1e-6)  # the second column does not count
    rows = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    assert CosineLoss()(torch.ones(2, 2), rows).item() == pytest.approx(1 - 3 / math.sqrt(10), rel=1e-5)


# Missing labels.


@cases
def test_missing_labels_change_nothing(loss: MaskedLoss, input: Tensor, target: Tensor) -> None:
    target = with_missing(target)
    given = input.clone().requires_grad_()
    value = loss(given, target)
    value.backward()
    assert value.isfinite() and given.grad is not None and given.grad.isfinite().all()
    assert (given.grad[0] == 0).all()  # the first example has no label
    other = input.clone()
    other[0] = 500.0  # and its exponential would be infinite
    assert loss(other, target).item() == value.item()
    again = other.clone().requires_grad_()
    loss(again, target).backward()
    assert again.grad is not None and again.grad.isfinite().all()


@cases
def test_of_no_label_the_loss_is_nothing(loss: MaskedLoss, input: Tensor, target: Tensor) -> None:
    assert loss(input, torch.full_like(target, NAN, dtype=torch.float32)).item() == 0.0


def test_a_missing_position_leaves_its_profile() -> None:
    logits, y = torch.tensor([[0.3, 5.0, -1.0]]), torch.tensor([[2.0, NAN, 3.0]])
    for full in (False, True):
        loss = MultinomialLoss(full)
        assert loss(logits, y).item() == pytest.approx(loss(logits[:, ::2], y[:, ::2]).item())


def test_a_missing_pair_leaves_its_column() -> None:
    x, y = normal(6, 2), normal(6, 2)
    y[4, 0] = NAN
    kept = [0, 1, 2, 3, 5]
    r = [scipy.stats.pearsonr(x[kept, 0], y[kept, 0])[0], scipy.stats.pearsonr(x[:, 1], y[:, 1])[0]]
    assert PearsonLoss()(x, y).item() == pytest.approx(1 - np.mean(r), rel=1e-5)


def test_a_class_is_missing_as_nan_or_as_torch_has_it() -> None:
    logits = normal(3, C)
    expected = F.cross_entropy(logits[1:], torch.tensor([2, 0]), label_smoothing=0.1).item()
    for y in (torch.tensor([-100, 2, 0]), torch.tensor([NAN, 2.0, 0.0]), torch.tensor([[NAN], [2.0], [0.0]])):
        assert LabelSmoothingLoss(0.1)(logits, y).item() == pytest.approx(expected, rel=1e-6)


# Weights of examples, and batches.


@cases
def test_weights_of_examples_are_repetitions(loss: MaskedLoss, input: Tensor, target: Tensor) -> None:
    target = with_missing(target)
    times = torch.arange(N) % 3
    repeated = loss(input.repeat_interleave(times, 0), target.repeat_interleave(times, 0))
    assert loss(input, target, times.float()).item() == pytest.approx(repeated.item(), rel=1e-5)
    with pytest.raises(DefinitionError, match=r"shape \(2,\); for 13 examples they have to be \(13,\)"):
        loss(input, target, torch.ones(2))


@cases
def test_sums_and_weights_add_up(loss: MaskedLoss, input: Tensor, target: Tensor) -> None:
    target = with_missing(target)
    if not loss.adds_up:
        with pytest.raises(DefinitionError, match="does not add up over batches"):
            loss.sum_and_weight(input, target)
        return
    parts = [loss.sum_and_weight(input[i : i + 4], target[i : i + 4]) for i in range(0, N, 4)]
    total, weight = (sum(values).item() for values in zip(*parts, strict=True))
    assert total / weight == pytest.approx(loss(input, target).item(), rel=1e-5)
    assert loss.weight_of(input, target) == weight


def model(kind: type[BaseModel], criterion: Any, **methods: Any) -> BaseModel:
    """A model whose network gives the input, and has one parameter that it does not use."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            return x + 0 * self.unused

    def init_model(self: BaseModel) -> None:
        network = Network()
        kind.init_model(self, network, criterion, optim.SGD(network.parameters(), lr=0.0))

    made = type("Model", (kind,), {"init_model": init_model, **methods})
    found: BaseModel = made({}, Namespace(batch_size=4, cpu=True))
    return found


@cases
def test_the_loss_of_a_set_is_exact_in_any_batches(loss: MaskedLoss, input: Tensor, target: Tensor) -> None:
    x, y = input.numpy(), with_missing(target).numpy()
    sets = [MatrixBatchGenerator(x, y, batch_size=size, allow_nan=True) for size in (1, 3, 5, None)]
    found = [model(BaseModel, loss).evaluate(data)["loss"] for data in sets]
    expected = loss(input, torch.from_numpy(y)).item()
    assert found == pytest.approx([expected] * len(sets), rel=1e-5)


def test_a_loss_for_each_of_two_outputs_adds_up() -> None:
    profile, total = MultinomialLoss(), IgnoreMissing(nn.MSELoss())

    def compute_loss(self: BaseModel, y_pred_loss: Any, y: Any) -> Any:
        of_profile, profiles = profile.sum_and_weight(y_pred_loss, y)
        of_total, _ = total.sum_and_weight(y_pred_loss.mean(-1), torch.log1p(y.sum(-1)))
        return of_profile + 0.1 * of_total, profiles

    x, y = normal(N, L), counts(N, L)
    expected = profile(x, y) + 0.1 * F.mse_loss(x.mean(-1), torch.log1p(y.sum(-1)))
    made = model(BaseModel, nn.MSELoss(), compute_loss=compute_loss)
    for size in (2, 5, None):
        found = made.evaluate(MatrixBatchGenerator(x, y, batch_size=size))["loss"]
        assert found == pytest.approx(expected.item(), rel=1e-5)


# Predictions and labels.


@pytest.mark.parametrize(
    ("kind", "loss", "width", "y", "predicts"),
    [
        (RegressionModel, PoissonLoss(), 1, [2.0, 0.0, 1.0], torch.exp),
        (RegressionModel, PoissonLoss("softplus"), 1, [2.0, 0.0, 1.0], F.softplus),
        (RegressionModel, NegativeBinomialLoss(), 2, [2.0, 0.0, 1.0], lambda z: z[:, 0].exp()),
        (RegressionModel, PearsonLoss(), 1, [2.0, 0.5, 1.0], lambda z: z),
        (BaseModel, MultinomialLoss(), 3, np.eye(3), lambda z: z.softmax(-1)),
        (BaseModel, KLDivergenceLoss(), 3, np.eye(3), lambda z: z.softmax(-1)),
        (BaseModel, BinaryFocalLoss(), 1, [0.0, 1.0, 0.0], torch.sigmoid),
        (ClassificationModel, FocalLoss(), 3, [0, 2, 1], lambda z: z.softmax(-1)),
        (ClassificationModel, LabelSmoothingLoss(), 3, np.eye(3), lambda z: z.softmax(-1)),
        (ClassificationModel, BinaryFocalLoss(), 1, [0, 1, 1], lambda z: torch.sigmoid(z)[:, 0]),
        (MultiLabelModel, BinaryFocalLoss(), 2, [[0, 1.0], [1, 1], [0, 0]], torch.sigmoid),
        (MultiLabelModel, BinaryLabelSmoothingLoss(), 2, [[0, 1.0], [1, 1], [0, 0]], torch.sigmoid),
    ],
)
def test_predictions_are_in_the_units_of_the_labels(
    kind: type[BaseModel], loss: MaskedLoss, width: int, y: Any, predicts: Callable[[Tensor], Tensor]
) -> None:
    x = normal(3, width)
    made = model(kind, loss)
    found = made.predict(MatrixBatchGenerator(x))
    assert found == pytest.approx(predicts(x).numpy(), rel=1e-5)
    assert math.isfinite(made.evaluate(MatrixBatchGenerator(x, y))["loss"])
    row = made.fit(MatrixBatchGenerator(x, y), MatrixBatchGenerator(x, y), 1)[0]
    assert row["train_loss"] == pytest.approx(row["val_loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "x", "y", "message"),
    [
        (
            PoissonLoss(),
            normal(3, 1),
            [[1.0], [-2], [0]],
            "row 1 of the labels has -2; PoissonLoss takes counts",
        ),
        (MultinomialLoss(), normal(3, 2), [[1, 0], [0, 3], [-1, 0]], "row 2 of the labels has -1"),
        (
            BinaryFocalLoss(),
            normal(3, 1),
            [[0], [1], [2]],
            "row 2 of the labels has 2; BinaryFocalLoss takes 0",
        ),
        (KLDivergenceLoss(), normal(2, 2), [[0.5, 0.5], [0.7, 0.7]], "row 1 of the labels sums to 1.4"),
        (KLDivergenceLoss(), normal(2, 2), [[0.5, 0.5], [-1, 2]], "row 1 of the labels has -1"),
        (FocalLoss(), normal(3, 2), [0.0, 1.0, 0.5], "the labels have 0.5, which is no class index"),
    ],
)
def test_labels_that_a_loss_is_not_made_for_are_refused(loss: Any, x: Tensor, y: Any, message: str) -> None:
    data = MatrixBatchGenerator(x, np.array(y))
    with pytest.raises(DataError, match=message):
        model(BaseModel, loss).evaluate(data)
    with pytest.raises(DataError, match=message):
        model(BaseModel, loss).fit(data, data, 1)


@pytest.mark.parametrize(
    ("loss", "input", "target", "message"),
    [
        (PoissonLoss(), (4, 1), (4, 2), r"\(4, 2\) and the prediction \(4, 1\); PoissonLoss needs one"),
        (
            NegativeBinomialLoss(),
            (4, 3),
            (4, 3),
            r"shape \(4, 3\); without a dispersion it takes two for each",
        ),
        (NegativeBinomialLoss(), (4, 2), (4, 3), "NegativeBinomialLoss needs one mean for each count"),
        (FocalLoss(), (4, 1), (4,), "one a class.*BinaryFocalLoss"),
        (FocalLoss(), (4, 3), (5,), r"takes indexes \(4,\), or a probability for each logit"),
        (FocalLoss(2, [1.0, 1.0]), (4, 3), (4,), "alpha has 2 weights for 3 classes"),
        (CosineLoss(), (4,), (4,), "compares along dimension -1.*the first dimension is that of examples"),
        (IgnoreMissing(nn.CrossEntropyLoss()), (4, 4), (4, 4), "takes a loss that has one for each label"),
    ],
)
def test_shapes_that_do_not_go_together_are_refused(loss: Any, input: Any, target: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        loss(torch.zeros(input), torch.zeros(target))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FocalLoss(-1), "gamma is -1; it has to be a number from 0"),
        (lambda: BinaryFocalLoss(2, 1.5), "alpha is 1.5"),
        (lambda: FocalLoss(2, [-1.0, 1]), "alpha is .*weights are finite, 0 or more, and not all 0"),
        (lambda: FocalLoss(2, [0.0, 0]), "not all 0"),
        (lambda: LabelSmoothingLoss(1.0), "smoothing is 1.0; .* from 0, and below 1"),
        (lambda: BinaryLabelSmoothingLoss(0.1, [NAN]), "pos_weight is"),
        (lambda: PoissonLoss("exp"), "link is 'exp'; it has to be 'log' or 'softplus'"),  # type: ignore[arg-type]
        (lambda: NegativeBinomialLoss(0.0), "dispersion is 0.0; it has to be above 0"),
        (lambda: NegativeBinomialLoss(learned=True), "learned needs a dispersion to begin with"),
        (lambda: IgnoreMissing(nn.MSELoss(reduction="sum")), "reduction 'mean'"),
        (lambda: soft_bins(torch.zeros(1), [1.0, 1.0], 1), "edges is .*ascending"),
        (lambda: soft_bins(torch.zeros(1), [1.0], 0), "sigma is 0"),
        (lambda: BinaryFocalLoss("x"), "gamma is 'x'; it has to be a number from 0"),  # type: ignore[arg-type]
        (lambda: BinaryFocalLoss(True), "gamma is True"),
        (lambda: BinaryFocalLoss(alpha="x"), "alpha is 'x'; it has to be the weight"),  # type: ignore[arg-type]
        (lambda: BinaryFocalLoss(alpha=[0.5]), r"alpha is \[0.5\]"),  # type: ignore[arg-type]
        (lambda: FocalLoss(alpha="x"), "alpha is 'x'; weights are finite"),
        (lambda: FocalLoss(alpha=[None]), r"alpha is \[None\]"),  # type: ignore[arg-type]
        (lambda: FocalLoss(alpha=[True, False]), r"alpha is \[True, False\]"),
        (lambda: FocalLoss(alpha=0.5), r"alpha is 0.5; it has to be a weight for each class, \(C,\)"),
        (lambda: FocalLoss(None), "gamma is None"),  # type: ignore[arg-type]
        (lambda: LabelSmoothingLoss("x"), "smoothing is 'x'"),  # type: ignore[arg-type]
        (lambda: BinaryLabelSmoothingLoss([0.1]), r"smoothing is \[0.1\]"),  # type: ignore[arg-type]
        (lambda: BinaryLabelSmoothingLoss(0.1, {"a": 1}), "pos_weight is {'a': 1}"),  # type: ignore[arg-type]
        (lambda: PoissonLoss(["log"]), r"link is \['log'\]; it has to be 'log'"),  # type: ignore[arg-type]
        (lambda: PoissonLoss(full="no"), "full is 'no'; it has to be True or False"),  # type: ignore[arg-type]
        (lambda: MultinomialLoss(1), "full is 1; it has to be True or False"),  # type: ignore[arg-type]
        (lambda: NegativeBinomialLoss("x"), "dispersion is 'x'; it has to be above 0"),
        (lambda: NegativeBinomialLoss(0.1, "x"), "learned is 'x'; it has to be"),  # type: ignore[arg-type]
        (lambda: PearsonLoss("x"), "dim is 'x'; it has to be the number"),  # type: ignore[arg-type]
        (lambda: CosineLoss(0.5), "dim is 0.5"),  # type: ignore[arg-type]
        (lambda: IgnoreMissing("x"), "criterion is 'x'; IgnoreMissing takes a loss"),  # type: ignore[arg-type]
        (lambda: IgnoreMissing(Namespace(reduction="mean")), "criterion is Name"),  # type: ignore[arg-type]
        (lambda: soft_bins([1.0], [1.0], 1), r"y is \[1.0\]; it has to be a tensor"),  # type: ignore[arg-type]
        (lambda: soft_bins(torch.zeros(1), "x", 1), "edges is 'x'; it has to be the values"),
        (lambda: soft_bins(torch.zeros(1), [1.0], "x"), "sigma is 'x'"),  # type: ignore[arg-type]
    ],
)
def test_parameters_that_make_no_sense_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        make()


def test_a_learned_dispersion_finds_that_of_the_data() -> None:
    y = torch.from_numpy(np.random.default_rng(0).negative_binomial(2.0, 2.0 / 12.0, 4000)).float()
    loss = NegativeBinomialLoss(5.0, learned=True)
    log_mean = torch.full_like(y, math.log(10.0))
    optimizer = optim.LBFGS(loss.parameters(), lr=0.5, max_iter=20)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value: Tensor = loss(log_mean, y)
        value.backward()
        return value

    optimizer.step(closure)
    assert loss.log_dispersion is not None
    assert loss.log_dispersion.exp().item() == pytest.approx(0.5, rel=0.1)
