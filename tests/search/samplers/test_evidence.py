"""What a search has found out, in the order in which samplers see it."""

import math

from helixband.search.samplers.evidence import Evidence, Finding


def evidence_of(*results):
    evidence = Evidence()
    for trial, epochs, reward in results:
        evidence.add(trial, {"trial": trial}, epochs, reward)
    return evidence


def test_the_rung_comes_first_then_the_reward_then_the_number():
    found = evidence_of((0, 1, 0.9), (1, 1, 0.5), (2, 9, 0.1), (3, 3, 0.7), (4, 1, 0.9), (5, 3, 0.8))
    assert found.ranked() == [2, 5, 3, 0, 4, 1]


def test_a_trial_counts_once_by_its_highest_rung():
    found = evidence_of((0, 1, 0.9), (1, 1, 0.8), (1, 3, 0.2))
    assert len(found) == 2
    assert found[1] == Finding({"trial": 1}, 3, 0.2)
    assert found.ranked() == [1, 0]


def test_results_may_come_in_any_order():
    assert evidence_of((1, 3, 0.2), (1, 1, 0.8), (0, 1, 0.9)).ranked() == [1, 0]


def test_failures_are_the_worst_wherever_they_happened():
    found = evidence_of((0, 9, -math.inf), (1, 1, 0.1), (2, 1, math.nan), (3, 3, -5.0))
    assert found.ranked() == [3, 1, 0, 2]


def test_the_configurations_with_a_result_are_told():
    assert evidence_of((2, 1, 0.1), (0, 1, 0.2), (2, 3, 0.3)).configs() == [{"trial": 2}, {"trial": 0}]


def test_nothing_is_known_at_first():
    assert Evidence().ranked() == []
