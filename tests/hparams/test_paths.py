"""Paths of hyperparameters: labels that are the same on every machine."""

from typing import Any, Literal

import pytest
from test_hparams import Everything, random_hparams

from helixband.hparams import Hparams, hparam
from helixband.training.schedules import LinearSchedule


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({}, "v1"),
        ({"lr": 3e-4}, "v1"),
        ({"lr": 1e-3, "n_layers": 8}, "v1/lr=1.00E-03/nl=8"),
        ({"n_layers": 8, "lr": 1e-3, "weight_decay": 0}, "v1/lr=1.00E-03,wd=0.00E+00/nl=8"),
        ({"optimizer": "sgd", "lr": 2.0}, "v1/lr=2.00E+00,optimizer=sgd"),
        ({"bias": False, "n_layers": -1}, "v1/bias=F,nl=-1"),
        ({"kernels": [3, -7]}, "v1/ks=3+-7"),
        ({"kernels": []}, "v1/ks="),
        ({"name": ""}, "v1/name="),
        ({"name": "Conv1d_a-b.c"}, "v1/name=Conv1d_a-b.c"),
        # What is rounded, replaced or cut ends in a digest of the exact values.
        ({"lr": 1.0001e-3}, "v1/lr=1.00E-03~29c3"),
        ({"lr": 1.0002e-3}, "v1/lr=1.00E-03~300c"),
        ({"name": "a b"}, "v1/name=a-b~78c0"),
        ({"name": "a/b"}, "v1/name=a-b~b7f1"),
        ({"name": "../.."}, "v1/name=..-..~1183"),
        ({"name": "é"}, "v1/name=-~2bca"),
        ({"tags": ["a", "b"]}, "v1/tags=a+b"),
        ({"tags": ["a+b"]}, "v1/tags=a-b~591c"),
        ({"tags": [""]}, "v1/tags=~5553"),
        ({"lr": LinearSchedule(start=0.0, end=0.1, duration=5)}, "v1/lr=LinearSchedule~44c0"),
        ({"name": "x" * 300}, f"v1/name={'x' * 190}~e2cc"),
    ],
)
def test_a_path_is_a_label(values: dict[str, Any], path: str) -> None:
    assert Everything(values).path() == path


def test_a_part_has_200_bytes_at_most() -> None:
    exact, longer = (Everything(name="x" * count).path().split("/")[1] for count in (195, 196))
    assert exact == f"name={'x' * 195}"
    assert (len(exact), len(longer)) == (200, 200)


def test_equal_hyperparameters_have_equal_paths_and_others_other_ones() -> None:
    made = random_hparams(400)
    paths = {one: one.path() for one in made}
    assert len(paths) > 300
    assert all(Everything(one.to_json()).path() == path for one, path in paths.items())
    assert len(set(paths.values())) == len(paths)


def test_a_path_has_no_letter_of_a_shell() -> None:
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+=,~/")
    for made in random_hparams(200):
        assert set(made.path()) <= allowed
        assert all(len(part) <= 200 and part not in (".", "..") for part in made.path().split("/"))


def test_choices_of_several_types_have_paths_of_their_own() -> None:
    class Mixed(Hparams):
        a: Literal[1, True, "one", "F"] = hparam(None, "a")

    assert [Mixed(a=a).path() for a in (None, 1, True, "one", "F")] == [
        *("v1", "v1/a=1", "v1/a=T", "v1/a=one", "v1/a=F")
    ]
