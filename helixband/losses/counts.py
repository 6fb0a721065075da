"""Losses of counts: Poisson, negative binomial, and multinomial over the positions of a profile.

With `full=True` they have the terms that do not depend on the prediction, too, and are the negative
log-likelihood. These are large numbers that nearly cancel, of a thousand counts to 1 in 10⁴. So each loss is
computed as what the best prediction would have, plus how much worse this one is.
"""

import math
from typing import Any, Literal

import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from helixband.errors import DefinitionError
from helixband.losses.base import MaskedLoss, check_range, paired

Link = Literal["log", "softplus"]

LEAST_LOG = -25.0
"""A dispersion times a count or mean is taken for this at least: below it, the distribution is Poisson's."""
MOST_LOG = 80.0
"""The largest logarithm of which the exponential is taken, so that none is infinite in single precision."""
HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


class _CountLoss(MaskedLoss):
    def check_labels(self, y: NDArray[Any]) -> None:
        check_range(y, 0, math.inf, f"{type(self).__name__} takes counts, 0 or more")


class PoissonLoss(_CountLoss):
    """The Poisson negative log-likelihood, λ − y log λ, of the logarithm of the rate λ.

    `link`: how the network's output becomes the rate, by the exponential ("log": the output is log λ), or
    by "softplus", λ = log(1 + e^z), which grows no faster than the output (Avsec et al. 2021, Enformer).
    `full`: with log y!. Outputs (N, …), counts y of the same shape.

    As `nn.PoissonNLLLoss(log_input=True)`, which has Stirling's approximation of log y!.
    """

    def __init__(self, link: Link = "log", full: bool = False) -> None:
        super().__init__()
        if link not in ("log", "softplus"):
            raise DefinitionError(f"link is {link!r}; it has to be 'log' or 'softplus'")
        self.link, self.full = link, full

    def terms(self, input: Tensor, target: Tensor, known: Tensor) -> Tensor:
        input = input.where(known, 0.0)  # an exponential that overflows would have no gradient times 0
        log_rate = input if self.link == "log" else _log_softplus(input)
        rate = self.prediction(input)
        if not self.full:
            return rate - target * log_rate
        some = torch.where(target > 0, target, 1)
        away = log_rate - some.log()
        return torch.where(target > 0, some * (torch.expm1(away) - away) + _of_best_rate(some), rate)

    def prediction(self, input: Tensor) -> Tensor:
        """The rate λ."""
        return input.exp() if self.link == "log" else F.softplus(input, threshold=40)


class NegativeBinomialLoss(_CountLoss):
    """The negative log-likelihood of the negative binomial distribution with mean μ and variance μ + α μ².

    The network's outputs are (N, …, 2), log μ and log α, and the counts (N, …). With `dispersion`, α is a
    number, or one a column, and the outputs log μ alone, of the shape of the counts; with `learned` it is
    where a parameter of this loss begins, to be given to the optimizer: `[*network.parameters(),
    *loss.parameters()]`. As α goes to 0 it is the Poisson loss with `full=True`.

    Cameron and Trivedi 1986 (there NB2); Robinson and Smyth 2008 (edgeR); Lopez et al. 2018 (scVI; θ = 1/α).
    """

    log_dispersion: Tensor | None

    def __init__(self, dispersion: ArrayLike | Tensor | None = None, learned: bool = False) -> None:
        super().__init__()
        given = None if dispersion is None else torch.as_tensor(dispersion, dtype=torch.get_default_dtype())
        if given is not None and not bool((torch.isfinite(given) & (given > 0)).all()):
            raise DefinitionError(f"dispersion is {given.tolist()}; it has to be above 0")
        if learned and given is None:
            raise DefinitionError("learned needs a dispersion to begin with, for example dispersion=0.1")
        log = None if given is None else given.log()
        if learned and log is not None:
            self.log_dispersion = nn.Parameter(log)
        else:
            self.register_buffer("log_dispersion", log)

    def matched(self, input: Tensor, target: Tensor) -> Tensor:
        if self.log_dispersion is None and (input.ndim < 2 or input.shape[-1] != 2):
            raise DefinitionError(
                f"NegativeBinomialLoss got outputs of shape {tuple(input.shape)}; without a dispersion it "
                "takes two for each count, (N, …, 2): log mean and log dispersion"
            )
        means = input[..., 0] if self.log_dispersion is None else input
        return paired(means, target, "NegativeBinomialLoss needs one mean for each count").to(input.dtype)

    def terms(self, input: Tensor, target: Tensor, known: Tensor) -> Tensor:
        if self.log_dispersion is None:
            log_mean, log_dispersion = input.where(known.unsqueeze(-1), 0.0).unbind(-1)
        else:
            log_mean, log_dispersion = input.where(known, 0.0), self.log_dispersion
        some = torch.where(target > 0, target, 1)
        counts = _worse_mean(log_mean, log_dispersion, some) + _of_best_mean(log_dispersion, some)
        return torch.where(target > 0, counts, _of_no_count(log_mean, log_dispersion))

    def prediction(self, input: Tensor) -> Tensor:
        """The mean μ."""
        return (input[..., 0] if self.log_dispersion is None else input).exp()


class MultinomialLoss(_CountLoss):
    """The negative log-likelihood of where the counts of a profile lie, given how many they are.

    −Σ k_i log p_i, p being the softmax of the logits along the last dimension; with `full` less
    log(n! / Π k_i!). It is the mean over profiles. Logits (N, …, L), counts k of the same shape. A position
    that is missing is left out of its profile, softmax included.

    Avsec et al. 2021, Base-resolution models of transcription-factor binding (BPNet), with `full=True`.
    """

    def __init__(self, full: bool = False) -> None:
        super().__init__()
        self.full = full

    def counted(self, known: Tensor) -> Tensor:
        return known.any(-1)

    def terms(self, input: Tensor, target: Tensor, known: Tensor) -> Tensor:
        lowest = torch.finfo(input.dtype).min
        log_p = input.where(known, lowest).log_softmax(-1).where(known, 0.0)
        if not self.full:
            return -(target * log_p).sum(-1)
        some = torch.where(target > 0, target, 1)
        number = target.sum(-1)
        some_number = torch.where(number > 0, number, 1)
        worse = target * (some.log() - some_number.log().unsqueeze(-1) - log_p)
        best = torch.where(target > 0, _of_best_rate(some), 0)
        return (worse + best).sum(-1) - torch.where(number > 0, _of_best_rate(some_number), 0)

    def prediction(self, input: Tensor) -> Tensor:
        """The share of the counts at each position."""
        return input.softmax(-1)


def _of_best_rate(count: Tensor) -> Tensor:
    """The Poisson negative log-likelihood of a count above 0 at the rate that is the count."""
    small = count.clamp(max=10)
    exact = torch.lgamma(small + 1) - small * small.log() + small
    return torch.where(count > 10, HALF_LOG_TAU + 0.5 * count.log() + _stirling(count.clamp(min=10)), exact)


def _of_best_mean(log_dispersion: Tensor, count: Tensor) -> Tensor:
    """The negative binomial negative log-likelihood of a count above 0 at the mean that is the count."""
    log_theta = -log_dispersion
    theta = log_theta.clamp(max=MOST_LOG).exp()
    wider = 0.5 * F.softplus(count.log() + log_dispersion)
    return (
        _of_best_rate(count)
        + wider
        + _remainder(theta, log_theta)
        - _remainder(count + theta, torch.logaddexp(count.log(), log_theta))
    )


def _worse_mean(log_mean: Tensor, log_dispersion: Tensor, count: Tensor) -> Tensor:
    """How much worse a mean is than the one that is the count: half the deviance, of a count above 0.

    y (log1p(w (e^d − 1)) / w − d), with d = log μ − log y and w = α y / (1 + α y).
    """
    log_count = count.log()
    away, log_wider = log_mean - log_count, log_count + log_dispersion
    narrow = _of_narrow(away, log_wider.clamp(LEAST_LOG, 0))
    return count * torch.where(log_wider > 0, _of_wide(away, log_wider.clamp(min=0)), narrow)


def _of_narrow(away: Tensor, log_wider: Tensor) -> Tensor:
    """The same for one count and α y up to 1: close to Poisson."""
    log_w = F.logsigmoid(log_wider)
    of_near = torch.log1p(log_w.exp() * torch.expm1(away.clamp(-1, 1)))
    # Of a distant mean e^d would overflow, or 1 + w (e^d − 1) be rounded to 0.
    of_far = torch.logaddexp(F.logsigmoid(-log_wider), log_w + away)
    return torch.where(away.abs() > 1, of_far, of_near) * torch.exp(-log_w) - away


def _of_wide(away: Tensor, log_wider: Tensor) -> Tensor:
    """The same for one count and α y from 1: d is taken out of the logarithm, of which it is the most."""
    of_near = torch.log1p(torch.sigmoid(-log_wider) * torch.expm1(-away.clamp(-1, 1)))
    of_far = F.softplus(-log_wider - away) - F.softplus(-log_wider)
    rest = torch.exp(-log_wider)
    return away * rest + (1 + rest) * torch.where(away.abs() > 1, of_far, of_near)


def _of_no_count(log_mean: Tensor, log_dispersion: Tensor) -> Tensor:
    """The negative binomial negative log-likelihood of a count of 0: log1p(α μ) / α."""
    log_wider = (log_mean + log_dispersion).clamp(min=LEAST_LOG)
    return F.softplus(log_wider) * torch.exp((log_mean - log_wider).clamp(max=MOST_LOG))


def _remainder(x: Tensor, log_x: Tensor) -> Tensor:
    """What Stirling's formula leaves out of log Γ(x): log Γ(x) − (x − ½) log x + x − ½ log 2π."""
    small, log_small = x.clamp(max=10), log_x.clamp(max=math.log(10))
    exact = torch.lgamma(small + 1) - (small + 0.5) * log_small + small - HALF_LOG_TAU
    return torch.where(x > 10, _stirling(x.clamp(min=10)), exact)


def _stirling(x: Tensor) -> Tensor:
    """The first terms of the same, for x of 10 and more."""
    inverse = x.reciprocal()
    square = inverse * inverse
    return inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)))


def _log_softplus(z: Tensor) -> Tensor:
    low = z.clamp(max=-10)
    return torch.where(z < -10, low - low.exp() / 2, F.softplus(z.clamp(min=-10), threshold=40).log())
