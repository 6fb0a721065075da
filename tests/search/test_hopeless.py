"""When a trial is given up: what its reward has to be at each epoch to reach the best one."""

import math

from hypothesis import given
from hypothesis import strategies as st

from helixband.search.hopeless import DOUBT, FULL_CURVES, Gains, best_so_far


def learned(curves: list[list[float]], max_epochs: int) -> Gains:
    gains = Gains(max_epochs)
    for curve in curves:
        gains.add(curve)
    return gains


def test_nothing_is_hopeless_before_enough_trials_were_trained_to_the_end() -> None:
    curve = [0.1, 0.2, 0.3]
    assert learned([curve] * (FULL_CURVES - 1), 3).floors(0.9, 3) == ()
    assert len(learned([curve] * FULL_CURVES, 3).floors(0.9, 3)) == 3
    assert learned([curve[:2]] * 20, 3).floors(0.9, 3) == ()


def test_the_trial_that_gained_most_sets_the_floor() -> None:
    gains = learned([[0.0, 0.1, 0.1]] * 4 + [[0.0, 0.5, 0.75]], 3)
    assert gains.floors(2.0, 3) == (2.0 - 2 * 0.75, 2.0 - 2 * 0.25, 2.0)
    assert gains.floors(2.0, 1) == (0.5,)


def test_trials_that_were_stopped_early_have_gained_too() -> None:
    gains = learned([[0.0, 0.1, 0.1]] * 5 + [[0.0, 0.9]], 3)
    assert gains.floors(2.0, 1) == (2.0 - 2 * 0.9,)


def test_a_reward_that_falls_or_is_undefined_counts_as_the_best_before_it() -> None:
    assert best_so_far([math.nan, 0.5, 0.4, math.nan, 0.6]) == [-math.inf, 0.5, 0.5, 0.5, 0.6]
    gains = learned([[math.nan, 0.5, 0.2]] * 5, 3)
    assert gains.floors(1.0, 3) == (1.0, 1.0, 1.0)


@given(st.lists(st.lists(st.floats(-5, 5), min_size=4, max_size=4), min_size=FULL_CURVES, max_size=12))
def test_no_trial_that_it_has_learned_from_would_have_been_given_up_had_it_reached_the_best(
    curves: list[list[float]],
) -> None:
    best = max(max(curve) for curve in curves)
    floors = learned(curves, 4).floors(best, 4)
    for curve in curves:
        if max(curve) == best:
            assert all(value >= floor - 1e-9 for value, floor in zip(best_so_far(curve), floors, strict=True))


@given(st.floats(0.1, 10), st.floats(-5, 5))
def test_the_scale_of_the_reward_does_not_matter(scale: float, shift: float) -> None:
    curves = [[0.0, 0.25 * k, 0.5 * k] for k in range(5)]
    floors = learned(curves, 3).floors(4.0, 3)
    scaled = learned([[scale * value + shift for value in curve] for curve in curves], 3)
    for floor, other in zip(floors, scaled.floors(scale * 4.0 + shift, 3), strict=True):
        assert math.isclose(other, scale * floor + shift, abs_tol=1e-6)
    assert DOUBT > 1
