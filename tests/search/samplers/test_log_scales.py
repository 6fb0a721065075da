"""Which hyperparameters of a space of hyperopt expressions are drawn on a log scale."""

from hyperopt import hp

from helixband.search.samplers.random import log_scaled


def test_log_scales_are_found_wherever_they_stand() -> None:
    space = {
        "lr": hp.loguniform("lr", -9, -3),
        "decay": 10 ** hp.uniform("decay", -5, -2),
        "dropout": hp.uniform("dropout", 0, 0.5),
        "layers": [{"width": hp.qloguniform("width", 2, 6, 1)}, {"width": 8}],
        "optimizer": hp.choice("o", [{"kind": "adam"}, {"kind": "sgd", "a/b": hp.loguniform("m", -5, -1)}]),
        "units": hp.choice("u", [8, 16]),
    }
    assert log_scaled(space) == ["decay", "layers/0/width", "lr", "optimizer/a~1b"]


def test_a_space_without_expressions_does_not_tell() -> None:
    assert log_scaled({"lr": 0.1}) is None
