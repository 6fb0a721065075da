"""What holds for weights after a step: per output unit, for the modules that a glob names."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from base_model import RegressionModel
from batch_generator import MatrixBatchGenerator
from constraints import Constraint, MaxNormConstraint, NonNegative, UnitNorm
from helixband.errors import DefinitionError


def constrain(constraint: Constraint, network: nn.Module) -> None:
    for weight in constraint.weights(network):
        constraint.apply(weight)


def conv_network() -> nn.Module:
    return nn.ModuleDict(
        {
            "features": nn.Sequential(nn.Conv1d(4, 3, 5), nn.BatchNorm1d(3), nn.Conv1d(3, 2, 1)),
            "head": nn.Linear(2, 1),
        }
    )


def is_changed(network: nn.Module, constraint: Constraint) -> list[str]:
    """The names of the parameters that a constraint changed."""
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    constrain(constraint, network)
    return [name for name, value in network.named_parameters() if not value.equal(before[name])]


# The weights into each output unit.


def norms(weight: Tensor, output: int) -> Tensor:
    """The norm for each index of the dimension `output`, in 64 bits."""
    return weight.detach().double().movedim(output, 0).flatten(1).norm(dim=1)


@pytest.mark.parametrize(
    ("module", "output", "units"),
    [
        (nn.Linear(6, 3), 0, 3),
        (nn.Conv1d(4, 3, 5), 0, 3),
        (nn.Conv2d(4, 3, (2, 5)), 0, 3),
        (nn.Conv1d(4, 6, 5, groups=2), 0, 6),
        (nn.ConvTranspose1d(4, 3, 5), 1, 3),
        (nn.ConvTranspose2d(4, 3, (2, 5)), 1, 3),
        (nn.Embedding(7, 3), 0, 7),
    ],
)
@pytest.mark.parametrize("constraint", [MaxNormConstraint(0.01), UnitNorm()])
def test_the_norm_is_of_the_weights_into_each_output_unit(
    constraint: Constraint, module: nn.Module, output: int, units: int
) -> None:
    constrain(constraint, module)
    expected = 1.0 if isinstance(constraint, UnitNorm) else 0.01
    assert norms(module.get_parameter("weight"), output).tolist() == pytest.approx([expected] * units)


def test_a_transposed_convolution_has_an_output_unit_for_each_channel_of_each_group() -> None:
    # Four inputs in two groups; the first two lead to outputs 0 and 1, the others to outputs 2 and 3.
    module = nn.ConvTranspose1d(4, 4, 1, groups=2, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[3.0, 0.0], [4.0, 0.5], [6.0, 0.1], [8.0, 0.2]]).unsqueeze(2))
    constrain(MaxNormConstraint(1.0), module)
    expected = [[0.6, 0.0], [0.8, 0.5], [0.6, 0.1], [0.8, 0.2]]
    torch.testing.assert_close(module.weight.detach().squeeze(2), torch.tensor(expected))


@settings(deadline=None)
@given(
    max_norm=st.floats(1e-3, 1e3),
    scale=st.floats(1e-4, 1e4),
    units=st.integers(1, 5),
    inputs=st.integers(1, 300),
    seed=st.integers(0, 1000),
)
def test_no_unit_is_above_the_bound_and_none_within_it_is_touched(
    max_norm: float, scale: float, units: int, inputs: int, seed: int
) -> None:
    weight = scale * torch.randn(units, inputs, generator=torch.Generator().manual_seed(seed))
    before = weight.clone()
    MaxNormConstraint(max_norm).apply(weight)
    assert (norms(weight, 0) <= max_norm * (1 + 1e-6)).all()
    within = norms(before, 0) < max_norm * (1 - 1e-6)
    assert weight[within].equal(before[within])
    torch.testing.assert_close(nn.functional.normalize(weight, dim=1), nn.functional.normalize(before, dim=1))


@pytest.mark.parametrize("max_norm", [0.1, 1.7, 3.0, 49.0])
def test_a_unit_within_the_bound_stays_as_it_is_to_the_bit(max_norm: float) -> None:
    weight = torch.rand(100, 10) * 0.01
    before = weight.clone()
    MaxNormConstraint(max_norm).apply(weight)
    assert weight.equal(before)


def test_a_unit_without_weights_stays_zero() -> None:
    weight = torch.zeros(2, 3)
    for constraint in (MaxNormConstraint(1.0), UnitNorm()):
        constraint.apply(weight)
        assert weight.tolist() == [[0.0] * 3] * 2


def test_non_negative_sets_what_is_below_zero_to_zero() -> None:
    weight = torch.tensor([[-1.0, 2.0], [0.5, -0.1]])
    NonNegative().apply(weight)
    assert weight.tolist() == [[0.0, 2.0], [0.5, 0.0]]


# Which modules.


@pytest.mark.parametrize(
    ("glob", "changed"),
    [
        ("*", ["features.0.weight", "features.2.weight", "head.weight"]),
        ("features.*", ["features.0.weight", "features.2.weight"]),
        ("features.0", ["features.0.weight"]),
        ("*2", ["features.2.weight"]),
        ("h[ef]ad", ["head.weight"]),
    ],
)
def test_a_glob_names_modules_and_their_weights_alone_change(glob: str, changed: list[str]) -> None:
    assert is_changed(conv_network(), MaxNormConstraint(1e-3, glob)) == changed


def test_a_network_of_one_module_matches_too() -> None:
    assert is_changed(nn.Linear(3, 2), MaxNormConstraint(1e-3)) == ["weight"]


def test_norms_pass_over_the_scale_of_a_normalisation_and_non_negative_does_not() -> None:
    network = conv_network()
    assert len(UnitNorm().weights(network)) == 3
    assert len(NonNegative().weights(network)) == 4


@pytest.mark.parametrize("glob", ["conv*", "Head", "features", "features.1"])
def test_a_glob_that_matches_nothing_is_refused_with_the_names_there_are(glob: str) -> None:
    message = (
        rf"MaxNormConstraint: no module with a weight matches '{glob}'; "
        r"the network's modules with a weight are: 'features\.0', 'features\.2', 'head'"
    )
    with pytest.raises(DefinitionError, match=message.replace("*", r"\*")):
        MaxNormConstraint(1.0, glob).weights(conv_network())


def test_a_network_without_weights_is_refused() -> None:
    with pytest.raises(DefinitionError, match="modules with a weight are: none"):
        UnitNorm().weights(nn.ReLU())


@pytest.mark.parametrize("max_norm", [0, -1.0, float("nan"), "1", None])
def test_a_bound_that_is_not_positive_is_refused(max_norm: float) -> None:
    with pytest.raises(DefinitionError, match=f"max_norm is {max_norm!r}"):
        MaxNormConstraint(max_norm, "1")


@pytest.mark.parametrize("make", [lambda: MaxNormConstraint(1.0, 3), lambda: UnitNorm(3)])
def test_a_glob_that_is_no_text_is_refused(make: Callable[[], Constraint]) -> None:
    with pytest.raises(DefinitionError, match="glob is 3; it has to be a pattern"):
        make()


# In a training.


class Halved(Constraint):
    """A constraint of one's own: it notes what it sees and halves it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def apply(self, weight: Tensor) -> None:
        self.seen.append(weight.item())
        weight.mul_(0.5)


def test_constraints_hold_in_place_after_each_step() -> None:
    constraint = Halved()

    class Model(RegressionModel):
        def init_model(self) -> None:  # type: ignore[override]
            network = nn.Linear(1, 1, bias=False)
            nn.init.ones_(network.weight)
            optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
            super().init_model(network, optimizer=optimizer, constraints=[constraint])

    model = Model()
    # The prediction is w, the label 0, the gradient 2w: a step of size 1 goes to -w, and half of it stays.
    data = MatrixBatchGenerator(torch.ones(3, 1), torch.zeros(3), batch_size=1)
    model.fit(data, data, epochs=1)
    assert constraint.seen == [-1.0, 0.5, -0.25]
    assert model.network.weight.item() == -0.125
