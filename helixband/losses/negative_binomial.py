"""The likelihood of the negative binomial distribution and its slopes, exact for all counts, and fast.

With θ = 1 / α the negative log-likelihood of a count y at the mean μ is
log y! − log Γ(y + θ) + log Γ(θ) − y log μ + y log(θ + μ) + θ log1p(μ / θ), a sum of large numbers that nearly
cancel. Each Γ(x) is that of x + SHIFT, by Stirling's series, which is short there, divided by the product of
what lies between. In double precision nothing of this needs a branch or `torch.lgamma`, which take most of
the time. What is of the size of y log y is put together first.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LEAST_DISPERSION, MOST_DISPERSION = -50.0, 300.0
"""The bounds of the logarithm of a dispersion; far above the lower one, the distribution is Poisson's."""
MOST_MEAN = 80.0
"""The largest logarithm of a mean, so that the mean is finite in single precision."""
SHIFT = 8
OF_LOG_GAMMA = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)
"""The series in 1/x², times 1/x, by which log Γ(x) is above (x − ½) log x − x + ½ log 2π."""
OF_DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132)
"""The series in 1/x², times 1/x², by which ψ(x) is below log x − 1 / 2x."""
TERMS = {torch.float64: len(OF_LOG_GAMMA)}
"""So many of their terms are computed; of other types two, with an error of 2e-8."""
CACHED = 2**15
"""So many counts at once have what is computed of them in the cache of a core."""


class NegativeBinomial(torch.autograd.Function):
    """The negative log-likelihood of counts, (N, …), of log μ and log α of the same shape and one dtype.

    Counts get no gradient.
    """

    @staticmethod
    def forward(ctx: Any, log_mean: Tensor, log_dispersion: Tensor, count: Tensor) -> Tensor:
        ctx.save_for_backward(log_mean, log_dispersion, count)
        return torch.cat([_likelihood(*piece) for piece in _pieces(log_mean, log_dispersion, count)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[1]
        slopes = [_slopes(needed, *piece) for piece in _pieces(*ctx.saved_tensors)]
        found = [torch.cat(parts).mul_(gradients[0]) for parts in zip(*slopes, strict=True)]
        return found[0], found[1] if needed else None, None


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Rows of the tensors at a time, on a CPU so few that what is computed of them stays in its cache.

    Of what `expand` repeats, each value comes once.
    """
    count = tensors[-1]
    rows = len(count) if count.is_cuda else CACHED * len(count) // max(count.numel(), 1)
    for pieces in zip(*(torch.split(each, max(rows, 1)) for each in tensors), strict=True):
        yield tuple(
            each[tuple(slice(None) if stride else slice(1) for stride in each.stride())] for each in pieces
        )


def _likelihood(log_mean: Tensor, log_dispersion: Tensor, count: Tensor) -> Tensor:
    y, theta, log_scaled, terms = _in_double(log_mean, log_dispersion, count)
    total, theta_up, y_up = y + theta, theta + SHIFT, y + (SHIFT + 1)
    total_up = y + theta_up
    log_theta_up, log_y_up = theta_up.log(), y_up.log()
    value = (log_y_up - log_theta_up).sub_(log_scaled).mul_(y).add_(log_y_up, alpha=SHIFT + 0.5)
    value.addcmul_(total, log_scaled.exp().mul_(theta_up).sub_(y).div_(total_up).log1p_())
    value.sub_(total_up.log().sub_(log_theta_up), alpha=SHIFT - 0.5)
    value.add_(_rising(total).div_(_rising(y + 1).mul_(_rising(theta))).log_())
    value.sub_(_series_of(total_up, terms)).add_(_series_of(theta_up, terms))
    return value.add_(_series_of(y_up, terms)).sub_(_of_no_count(terms)).to(log_mean.dtype)


def _slopes(
    by_dispersion: bool, log_mean: Tensor, log_dispersion: Tensor, count: Tensor
) -> tuple[Tensor, ...]:
    """θ (μ − y) / (θ + μ), by log μ; by log α this more θ (ψ(y + θ) − ψ(θ) − log1p(α μ))."""
    y, theta, log_scaled, terms = _in_double(log_mean, log_dispersion, count)
    scaled = log_scaled.exp_()
    by_mean = (theta * scaled).sub_(y).div_(scaled + 1)
    if not by_dispersion:
        return (by_mean.to(log_mean.dtype),)
    digammas = (y / (theta + SHIFT)).log1p_().sub_(_below_log(y + theta, terms))
    found = digammas.add_(_below_log(theta, terms)).sub_(scaled.log1p_()).mul_(theta).add_(by_mean)
    return by_mean.to(log_mean.dtype), found.to(log_mean.dtype)


def _in_double(log_mean: Tensor, log_dispersion: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """(y, θ, log α μ, how many terms of the series the dtype needs)."""
    log_alpha = log_dispersion.clamp(LEAST_DISPERSION, MOST_DISPERSION).double()
    log_scaled = log_mean.clamp(max=MOST_MEAN).double() + log_alpha
    return count.double(), log_alpha.neg().exp_(), log_scaled, TERMS.get(log_mean.dtype, 2)


def _rising(x: Tensor) -> Tensor:
    """x (x + 1) … (x + 7) = Γ(x + SHIFT) / Γ(x)."""
    u = (x + 7).mul_(x)
    return (u + 6).mul_(u).mul_(u + 10).mul_(u.add_(12))


def _below_log(x: Tensor, terms: int) -> Tensor:
    """log(x + SHIFT) − ψ(x), which has the slope of the logarithm of what `_rising` gives."""
    u = (x + 7).mul_(x)
    product = (u + 6).mul_(u).mul_(u + 10).mul_(u + 12)
    slope = (u * 4).add_(84).mul_(u).add_(504).mul_(u).add_(720).mul_((x * 2).add_(7)).div_(product)
    inverse = (x + SHIFT).reciprocal_()
    square = inverse * inverse
    return slope.add_(inverse, alpha=0.5).addcmul_(_series(square, OF_DIGAMMA[:terms]), square)


def _series_of(x: Tensor, terms: int) -> Tensor:
    inverse = x.reciprocal()
    return _series(inverse * inverse, OF_LOG_GAMMA[:terms]).mul_(inverse)


def _series(square: Tensor, coefficients: Sequence[float]) -> Tensor:
    last, *others = reversed(coefficients)
    found = square * last
    for each in others[:-1]:
        found.add_(each).mul_(square)
    return found.add_(others[-1])


def _of_no_count(terms: int) -> float:
    """What the rest gives as log 0!: about 9 − ½ log 2π, and so exactly 0 in all."""
    up = SHIFT + 1
    series = math.fsum(each / up ** (2 * k + 1) for k, each in enumerate(OF_LOG_GAMMA[:terms]))
    return (SHIFT + 0.5) * math.log(up) + series - math.lgamma(up)
