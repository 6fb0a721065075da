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
from helixband.losses.base import MaskedLoss, check_range, numbers, one_of, paired
from helixband.losses.negative_binomial import NegativeBinomial

Link = Literal["log", "softplus"]

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
        self.link, self.full = one_of("link", link, "log", "softplus"), one_of("full", full, True, False)

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

    It has first derivatives alone, and the counts have none.

    Cameron and Trivedi 1986 (there NB2); Robinson and Smyth 2008 (edgeR); Lopez et al. 2018 (scVI; θ = 1/α).
    """

    log_dispersion: Tensor | None

    def __init__(self, dispersion: ArrayLike | Tensor | None = None, learned: bool = False) -> None:
        super().__init__()
        rule = "it has to be above 0, one number or one a column"
        given = None if dispersion is None else numbers("dispersion", dispersion, rule)
        if given is not None and not bool((torch.isfinite(given) & (given > 0)).all()):
            raise DefinitionError(f"dispersion is {given.tolist()}; {rule}")
        if one_of("learned", learned, True, False) and given is None:
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
            log_mean, log_dispersion = input.unbind(-1)
        else:
            log_mean, log_dispersion = input, self.log_dispersion.to(input.dtype)
        found: Tensor = NegativeBinomial.apply(  # type: ignore[no-untyped-call]
            log_mean, log_dispersion.expand_as(target), target
        )
        return found

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
        self.full = one_of("full", full, True, False)

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


def _stirling(x: Tensor) -> Tensor:
    """What Stirling's formula leaves out of log Γ(x), for x of 10 and more."""
    inverse = x.reciprocal()
    square = inverse * inverse
    return inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)))


def _log_softplus(z: Tensor) -> Tensor:
    low = z.clamp(max=-10)
    return torch.where(z < -10, low - low.exp() / 2, F.softplus(z.clamp(min=-10), threshold=40).log())
