"""Hyperparameters by name: declarations, values, flags, spaces."""

import copy
import json
import pickle
import random
import shlex
import subprocess
import sys
from typing import Any, Literal

import pytest
from conftest import ROOT

from helixband.errors import DefinitionError, UsageError
from helixband.hparams import HparamCollection, Hparams, Range, hparam
from helixband.training.schedules import LinearSchedule

WARMUP = LinearSchedule(start=0.0, end=0.1, duration=5)


class Optimizing(Hparams):
    """How it is optimized."""

    version = 1
    lr: float = hparam(3e-4, "learning rate", short="lr", search=Range(1e-5, 0.05, log=True))
    weight_decay: float = hparam(0.01, "weight decay of AdamW, 100% of it", short="wd")
    optimizer: Literal["adamw", "sgd"] = hparam("adamw", "the optimizer")


class Encoding(Hparams):
    n_layers: int = hparam(4, "attention layers", short="nl", search=[2, 4, 8])
    bias: bool = hparam(True, "with a bias")
    name: str = hparam(None, "what it is called")
    kernels: list[int] = hparam([3, 5], "widths of kernels", short="ks")
    tags: list[str] = hparam([], "labels")
    batch_size: int | None = hparam(None, "a name of main.py's own")


class Everything(Optimizing, Encoding): ...


NASTY = (
    "",
    " ",
    "a b",
    "'",
    '"',
    "a';rm -rf /;'",
    "$(rm x)",
    "`x`",
    "line\nline",
    "-x",
    "--lr",
    "--",
    "é",
    "\\",
    "null",
)


# Declarations.


def test_a_collection_has_the_hyperparameters_of_its_classes_in_their_order() -> None:
    assert list(Everything.fields()) == [
        *("lr", "weight_decay", "optimizer"),
        *("n_layers", "bias", "name", "kernels", "tags", "batch_size"),
    ]
    field = Everything.fields()["lr"]
    assert (field.name, field.short, field.default, field.help) == ("lr", "lr", 3e-4, "learning rate")
    assert field.owner is Optimizing
    assert Everything.fields()["weight_decay"] is Optimizing.weight_decay


def test_a_collection_can_name_itself_one() -> None:
    class First(HparamCollection, Optimizing, Encoding): ...

    class Last(Optimizing, Encoding, HparamCollection): ...

    assert First.fields() == Last.fields() == Everything.fields()


def test_one_class_reached_twice_is_no_clash() -> None:
    class Left(Optimizing):
        left: int = hparam(0, "left")

    class Right(Optimizing):
        right: int = hparam(0, "right")

    class Both(Left, Right): ...

    assert list(Both.fields()) == ["lr", "weight_decay", "optimizer", "left", "right"]


def test_the_version_of_a_collection_has_the_raises_of_all_its_classes() -> None:
    class Raised(Hparams):
        version = 3
        deep: int = hparam(1, "deep")

    class Collected(Optimizing, Raised):
        version = 2

    class More(Collected): ...

    assert [cls.version for cls in (Hparams, Everything, Raised, Collected, More)] == [1, 1, 3, 4, 4]
    assert More().path() == "v4"


class NamedRate(Hparams):
    """It has a method of the name of a hyperparameter of another class."""

    def lr(self) -> float:
        return 0.0


class Undeclared:
    """It is no class of hyperparameters."""

    a: int = hparam(0, "a")


def declare(body: str, bases: str = "Hparams") -> None:
    """Make a class of this body, as a definition would."""
    exec(f"class Broken({bases}):\n    {body}\n", globals())


@pytest.mark.parametrize(
    ("bases", "body", "told"),
    [
        (
            "Optimizing",
            "lr: float = hparam(0.1, 'rate')",
            r"Optimizing\.lr and Broken\.lr are both called 'lr'",
        ),
        ("Optimizing", "rate: float = hparam(0.1, 'rate', short='lr')", r"Optimizing\.lr and Broken\.rate"),
        (
            "Optimizing",
            "wd: float = hparam(0.1, 'rate')",
            r"weight_decay and Broken\.wd are both called 'wd'",
        ),
        ("Optimizing", "lr = 0.1", r"Broken\.lr overrides Optimizing\.lr"),
        ("Optimizing", "def lr(self): ...", r"Broken\.lr overrides Optimizing\.lr"),
        ("Hparams", "a: int = hparam(0, ' ')", r"Broken\.a: the help is empty"),
        ("Hparams", "a = hparam(0, 'a')", r"Broken\.a has no type"),
        ("Hparams", "a: int", r"Broken\.a has a type and no declaration"),
        ("Hparams", "a: int = 3", r"Broken\.a has a type and no declaration"),
        ("Hparams", "a: dict = hparam(None, 'a')", r"Broken\.a: the type is .*dict.*has to be int, float"),
        ("Hparams", "a: list[list[int]] = hparam(None, 'a')", r"Broken\.a: the type is list\[list\[int\]\]"),
        ("Hparams", "a: 'Missing' = hparam(None, 'a')", r"Broken: a type cannot be read: .*Missing"),
        ("Hparams", "a: Literal[True, 'true'] = hparam(True, 'a')", "two of its choices are written alike"),
        ("Hparams", "a: Literal[True, 'T'] = hparam(True, 'a')", "two of its choices are written alike"),
        ("Hparams", "a: int = hparam(0.5, 'a')", r"Broken\.a: the default is 0\.5; .*whole number"),
        ("Hparams", "a: float = hparam(float('nan'), 'a')", r"the default is nan; .*finite"),
        ("Hparams", "a: bool = hparam(1, 'a')", "the default is 1; it has to be true or false"),
        ("Hparams", "path: str = hparam('', 'a')", r"Hparams itself has the attribute path"),
        ("Hparams", "a: str = hparam('', 'a', short='a b')", "the name 'a b' has to begin with a letter"),
        ("Hparams", "_a: str = hparam('', 'a')", "the name '_a' has to begin with a letter"),
        ("Hparams", "π: str = hparam('', 'a')", "has to begin with a letter"),
        ("Hparams", "version = 0", r"Broken\.version is 0"),
        ("Hparams", "lr: float = Optimizing.lr", r"Broken\.lr is Optimizing\.lr; write an hparam"),
        ("Hparams", "a: int = hparam(0, 'a'); b: int = a", r"Broken\.b is Broken\.a; write an hparam"),
        ("NamedRate, Optimizing", "...", r"NamedRate\.lr overrides Optimizing\.lr in Broken"),
        ("Undeclared, Hparams", "...", r"Undeclared\.a is a hyperparameter; derive Undeclared from Hparams"),
        ("Hparams", "a: [int] = hparam(None, 'a')", r"Broken\.a: the type is .*; it has to be int, float"),
        ("Hparams", "a: int = hparam(0, 'a', search=[])", r"Broken\.a: search is \[\]"),
        ("Hparams", "a: int = hparam(0, 'a', search='12')", "search is '12'; it has to be a list"),
        ("Hparams", "a: int = hparam(0, 'a', search=[1, 1])", "which has a value twice"),
        ("Hparams", "a: int = hparam(0, 'a', search=[1, 2.5])", r"a value of search is 2\.5"),
        ("Hparams", "a: int = hparam(0, 'a', search=Range(0.5, 2))", "of an int, it has whole numbers"),
        ("Hparams", "a: str = hparam('', 'a', search=Range(1, 2))", "a str is searched in a list"),
        ("Hparams", "a: int = hparam(0, 'a', search={'low': 1})", "is no range: it has low and high"),
        (
            "Hparams",
            "a: int = hparam(0, 'a', search=Range(2, 1))",
            r"Range\(2, 1\): low has to be below high",
        ),
        ("Hparams", "a: float = hparam(0, 'a', search=Range(0, 1, log=True))", "low has to be above 0"),
        ("Hparams", "a: int = hparam(0, 'a', search=Range(1, 3, step=5))", "step has to be above 0, and no"),
        (
            "Hparams",
            "a: int = hparam(0, 'a', search=Range(0, 2**63))",
            "an end of search is 9223372036854775808",
        ),
        (
            "Hparams",
            "a: float = hparam(0, 'a', search=Range(0, 10**400))",
            "Range: high is .*a finite number",
        ),
        ("Hparams", "a: float = hparam(0, 'a', search=Range(-1e308, 1e308))", "more than a float can be"),
        (
            "Hparams",
            "a: float = hparam(0, 'a', search=Range(0.0, 1.0, step=1e-30))",
            "more than 2.*64 values",
        ),
    ],
)
def test_a_wrong_declaration_is_told_as_the_class_is_made(bases: str, body: str, told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        declare(body, bases)


def test_the_declaration_of_another_class_stays_its_own() -> None:
    with pytest.raises(DefinitionError):
        declare("lr: float = Optimizing.lr")
    assert Optimizing.fields()["lr"].owner is Optimizing


def test_a_clash_names_both_owners() -> None:
    class Other(Hparams):
        lr: float = hparam(0.1, "another rate")

    with pytest.raises(DefinitionError, match=r"Both: Optimizing\.lr and Other\.lr are both called 'lr'"):

        class Both(Optimizing, Other): ...


# Values.


def test_values_read_as_a_mapping_and_as_attributes() -> None:
    made = Everything({"lr": 1}, n_layers=8)
    assert (made.lr, made["lr"], type(made.lr)) == (1.0, 1.0, float)
    assert made.n_layers == 8
    assert dict(made) == {
        **{"lr": 1.0, "weight_decay": 0.01, "optimizer": "adamw", "n_layers": 8, "bias": True, "name": None},
        **{"kernels": [3, 5], "tags": [], "batch_size": None},
    }
    assert made.changed() == {"lr": 1.0, "n_layers": 8}
    assert Everything(made) == made
    assert repr(made) == "Everything(lr=1.0, n_layers=8)"


def test_none_is_the_default() -> None:
    assert Everything(lr=None, kernels=None) == Everything()
    assert Everything(lr=1e-3).replace(lr=None) == Everything()


def test_values_cannot_be_changed() -> None:
    made = Everything()
    with pytest.raises(AttributeError, match="replace"):
        made.lr = 1.0
    with pytest.raises(AttributeError, match="replace"):
        made.other = 1.0  # type: ignore[attr-defined]
    made.kernels.append(7)
    made["kernels"].append(7)
    assert made.kernels == [3, 5]
    assert Everything().kernels == [3, 5]


def test_equal_are_those_of_one_class_with_the_same_values() -> None:
    made = Everything(lr=0.1)
    assert made == Everything(lr=0.1)
    assert hash(made) == hash(Everything(lr=0.1))
    assert made != Everything(lr=0.2)
    assert made != Everything(lr=LinearSchedule(start=0.1, end=0.0, duration=3))
    assert Optimizing() != Everything()
    assert Everything(weight_decay=-0.0) == Everything(weight_decay=0.0)


def test_a_copy_and_a_pickle_are_equal() -> None:
    made = Everything(lr=WARMUP, kernels=[1])
    assert copy.deepcopy(made) == made
    assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"lrr": 1}, "Everything has no hyperparameter 'lrr'; did you mean lr?"),
        ({"nl": 1}, "Everything has no hyperparameter 'nl'; did you mean n_layers?"),
        ({"n_layers": 2.0}, "Encoding.n_layers is 2.0; it has to be a whole number"),
        ({"n_layers": True}, "Encoding.n_layers is True; it has to be a whole number"),
        ({"n_layers": "2"}, "Encoding.n_layers is '2'; it has to be a whole number"),
        ({"n_layers": 2**63}, "it has to be a whole number of 64 bits"),
        ({"lr": float("inf")}, "Optimizing.lr is inf; it has to be a finite number"),
        ({"lr": 10**400}, "it has to be a finite number"),
        ({"lr": "1"}, "Optimizing.lr is '1'; it has to be a finite number"),
        ({"lr": {"__schedule__": "Nothing"}}, "it is no schedule: no schedule is called 'Nothing'"),
        ({"bias": 1}, "Encoding.bias is 1; it has to be true or false"),
        ({"optimizer": "adam"}, "Optimizing.optimizer is 'adam'; it has to be one of 'adamw', 'sgd'"),
        ({"kernels": 3}, "Encoding.kernels is 3; it has to be a list"),
        ({"kernels": [3, "5"]}, "Encoding.kernels is [3, '5']; item 1, '5': it has to be a whole number"),
        ({"name": 3}, "Encoding.name is 3; it has to be a string"),
        ({"name": "a\0b"}, "it has to be a string of UTF-8 without a NUL"),
        ({"name": "\udcff"}, "it has to be a string of UTF-8 without a NUL"),
    ],
)
def test_a_wrong_value_is_told(values: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as error:
        Everything(values)
    assert told in str(error.value)


def test_a_name_that_is_read_and_not_declared_is_told() -> None:
    made: Any = Everything()
    told = "Everything has no hyperparameter 'lrr'; did you mean lr\\?"
    with pytest.raises(KeyError, match=told):
        made["lrr"]
    with pytest.raises(AttributeError, match=told):
        made.lrr  # noqa: B018
    assert ("lrr" in made, hasattr(made, "lrr"), made.get("lrr", 3)) == (False, False, 3)


def test_defaults_and_searches_are_given_as_copies() -> None:
    class Lists(Hparams):
        sizes: list[int] = hparam([1], "sizes", search=[[1], [2, 3]])

    Lists.fields()["sizes"].default.append(4)
    Lists.space()["sizes"][1].append(4)  # type: ignore[index]
    assert (Lists().sizes, Lists.space()) == ([1], {"sizes": [[1], [2, 3]]})


def test_what_is_no_mapping_is_told() -> None:
    values: Any = "--lr 1"
    with pytest.raises(UsageError, match=r"Everything is made from '--lr 1'; .* parse\(\) takes a command"):
        Everything(values)


def test_a_hyperparameter_may_be_called_self() -> None:
    class Odd(Hparams):
        self: int = hparam(1, "any name")

    assert Odd(**{"self": 2}).replace(**{"self": 3})["self"] == 3


def test_numbers_of_numpy_are_numbers() -> None:
    import numpy as np

    made = Everything(lr=np.float32(0.5), n_layers=np.int64(3))
    assert json.dumps([made.lr, made.n_layers]) == "[0.5, 3]"


def test_a_float_can_be_a_schedule() -> None:
    made = Everything(lr=WARMUP)
    assert made.lr.at(1) == pytest.approx(0.02)  # type: ignore[attr-defined]
    assert made.to_json()["lr"] == WARMUP.to_json()
    assert repr(Everything(json.loads(json.dumps(made.to_json()))).lr) == repr(WARMUP)
    assert Everything.parse(made.args()) == made


def test_all_values_come_back_from_json() -> None:
    for values in ({}, {"lr": 0.1, "name": "a\nb", "kernels": []}, {"batch_size": 3}):
        made = Everything(values)
        document = json.loads(json.dumps(made.to_json()))
        assert list(document) == list(Everything.fields())
        assert Everything(document) == made


# The command line.


def test_words_give_values() -> None:
    parsed = Everything.parse(
        ["--lr", "1e-3", "--n_layers", "8", "--bias", "false", "--kernels", "3,7", "--set", "name=a=b"]
    )
    assert parsed.changed() == {"lr": 1e-3, "n_layers": 8, "bias": False, "kernels": [3, 7], "name": "a=b"}
    assert Everything.parse("--n-layers=8 --lr null --tags '[\"a,b\"]'").changed() == {
        "n_layers": 8,
        "tags": ["a,b"],
    }
    assert Everything.parse([]) == Everything()
    assert Everything.parse("--lr -1e-3 --kernels -3,5").changed() == {"lr": -1e-3, "kernels": [-3, 5]}


def test_args_are_quoted_for_a_shell() -> None:
    made = Everything(lr=1e-3, name="it's; rm x", batch_size=7)
    assert made.args() == """--lr=0.001 '--name=it'"'"'s; rm x' --set batch_size=7"""
    assert made.argv() == ["--lr=0.001", "--name=it's; rm x", "--set", "batch_size=7"]
    assert Everything().args() == ""


@pytest.mark.parametrize("text", NASTY)
def test_any_string_comes_through_a_shell(text: str) -> None:
    made = Everything(name=text, tags=[text, "", text])
    assert Everything.parse(made.args()) == made
    assert Everything.parse(made.argv()) == made
    done = subprocess.run(["sh", "-c", f"printf '%s\\0' {made.args()}"], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == made.argv()


def test_random_values_come_through_a_command_line() -> None:
    for made in random_hparams(300):
        assert Everything.parse(made.args()) == made
        assert Everything.parse(shlex.split(made.args())) == made


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--lrr 3", "--lrr: did you mean --lr?"),
        ("--n-lay 3", "unrecognized arguments: --n-lay 3; --n-lay: did you mean --n-layers?"),
        ("--nl 3", "unrecognized arguments: --nl 3"),
        ("--lr x", "--lr is 'x'; it has to be a finite number (Optimizing.lr: learning rate)"),
        ("--lr nan", "--lr is 'nan'; it has to be a finite number"),
        ("--lr 1_000", "--lr is '1_000'; it has to be a finite number"),
        ("--n-layers 1e3", "--n-layers is '1e3'; it has to be a whole number"),
        ("--bias yes", "--bias is 'yes'; it has to be true or false"),
        ("--optimizer adam", "--optimizer is 'adam'; it has to be one of 'adamw', 'sgd'"),
        ("--kernels '[3'", "--kernels is '[3'; it is no JSON"),
        ("--kernels 3,x", "--kernels is '3,x'; item 1, 'x': it has to be a whole number"),
        ("--batch-size 3", "--batch-size is a flag of main.py: give a hyperparameter of that name by --set"),
        ("--set lr", "--set takes name=value, got 'lr'"),
        ("--name 'x", 'the command line "--name \'x" cannot be split: No closing quotation'),
        (
            '--lr \'{"__schedule__": "StepSchedule", "start": 1, "start": 2}\'',
            "it is no JSON: an object has the key 'start' twice",
        ),
        ("--set lrr=3", "Everything has no hyperparameter 'lrr'; did you mean lr?"),
        ("--set lr=1 --lr 1", "--set lr=1 and --lr 1 both give lr; leave one of them out"),
    ],
)
def test_a_wrong_command_line_is_told(words: str, told: str) -> None:
    with pytest.raises(UsageError) as error:
        Everything.parse(words)
    assert told in str(error.value)


def test_a_percent_sign_stays_one_in_help() -> None:
    class Shares(Hparams):
        """What 50 % is."""

        share: Literal["50%", "all"] = hparam("all", "5% or %(prog)s", search=["50%"])
        seed: int = hparam(3, "at 1%")

    text = Shares.parser().format_help()
    assert "%%" not in text
    assert "What 50 % is." in text and "--share 50%|all" in text and "5% or %(prog)s" in text
    assert "at 1%" in text


def test_the_help_lists_them_by_class() -> None:
    text = Everything.parser().format_help()
    assert "hyperparameters: Optimizing:\n  How it is optimized.\n" in text
    assert "--weight-decay X, --weight_decay X" in text
    assert "100% of it (default: 0.01)" in text
    assert "searched: 1e-05 to 0.05, log=True" in " ".join(text.split())
    assert (
        "--set batch_size=N  a name of main.py's own (default: none); main.py has --batch-size itself" in text
    )
    assert text.index("Optimizing") < text.index("Encoding")


def test_the_flags_of_main_are_known() -> None:
    from helixband.hparams.flags import FLAGS_OF_MAIN
    from helixband.run.command import make_parser

    flags = {flag for flag in make_parser()._option_string_actions if flag.startswith("--")}
    assert {f"--{name}" for name in FLAGS_OF_MAIN} == flags


# The space.


def test_the_space_is_what_is_searched() -> None:
    assert Everything.space() == {"lr": Range(1e-5, 0.05, log=True), "n_layers": [2, 4, 8]}
    assert Everything.space({"lr": 0.1}) == {"n_layers": [2, 4, 8]}
    with pytest.raises(UsageError, match="did you mean lr"):
        Everything.space(["lrr"])


def test_a_draw_has_values_of_the_space() -> None:
    source = random.Random(0)
    draws = [Everything.draw(source, {"bias": False}) for _ in range(300)]
    assert {made.n_layers for made in draws} == {2, 4, 8}
    assert all(1e-5 <= made.lr <= 0.05 and made.bias is False and made.weight_decay == 0.01 for made in draws)
    assert 0.4 < sum(made.lr < 7.07e-4 for made in draws) / 300 < 0.6  # half below the geometric mean


@pytest.mark.parametrize(
    ("search", "values"),
    [
        (Range(1, 4), [1, 2, 3, 4]),
        (Range(1, 8, step=3), [1, 4, 7]),
        (Range(1, 8, log=True, step=1), [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"low": 16, "high": 32, "step": 16}, [16, 32]),
    ],
)
def test_an_int_is_drawn_from_whole_numbers(search: Any, values: list[int]) -> None:
    class Made(Hparams):
        a: int = hparam(1, "a", search=search)

    drawn = [Made.space()["a"].at(share / 1000) for share in range(1000)]
    assert sorted(set(drawn)) == values
    assert {type(value) for value in drawn} == {int}
    assert drawn == sorted(drawn)


def test_a_range_is_written_for_json() -> None:
    for search in (Range(1, 2), Range(0.5, 2.0, log=True), Range(1, 9, step=2)):
        assert Range.from_json(json.loads(json.dumps(search.to_json()))) == search
    assert Range(0.5, 2.0, log=True).to_json() == {"low": 0.5, "high": 2.0, "log": True}


def random_hparams(count: int) -> list[Everything]:
    """Random values of everything, small ones often."""
    source = random.Random(7)

    def text() -> str:
        if source.random() < 0.5:
            return source.choice(NASTY)
        return "".join(source.choice("ab=,+~/.%- \né;'") for _ in range(source.randrange(6)))

    return [
        Everything(
            lr=source.choice(
                [3e-4, source.random(), 10 ** source.uniform(-300, 300), -source.random(), WARMUP]
            ),
            weight_decay=source.choice([0.01, 0.0, 1e-2 + 1e-9]),
            optimizer=source.choice(["adamw", "sgd"]),
            n_layers=source.choice([4, source.randrange(-(2**63), 2**63)]),
            bias=source.random() < 0.5,
            name=source.choice([None, text()]),
            kernels=[source.randrange(-9, 9) for _ in range(source.randrange(4))],
            tags=[text() for _ in range(source.randrange(3))],
        )
        for _ in range(count)
    ]


# What it costs.


def test_it_is_imported_at_once_and_alone() -> None:
    code = (
        "import time; start = time.process_time(); import helixband.hparams, helixband.hparams.groups, sys; "
        "print(time.process_time() - start); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, modules = done.stdout.splitlines()
    assert float(seconds) < 0.2
    assert not set(modules.split()) & {"torch", "numpy", "hyperopt", "scipy", "rich"}
