"""Runs of a definition that declares its hyperparameters."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Project

HPARAMS = """
from typing import Literal

from helixband.hparams import Hparams, Range, hparam


class Optimizing(Hparams):
    \"\"\"How it is optimized.\"\"\"

    lr: float = hparam(0.02, "learning rate", search=Range(0.003, 0.03, log=True))
    optimizer: Literal["adam", "sgd"] = hparam("adam", "the optimizer")


class Encoding(Hparams):
    units: int = hparam(4, "hidden units", search=[4, 8])
    n_layers: int = hparam(1, "layers", short="nl")
    name: str = hparam("", "any text")
    seed: int = hparam(None, "a name of main.py's own")


class Everything(Optimizing, Encoding): ...
"""
USE = """
from hparams import Everything as hparams
"""
ALONE = f"{USE}\ndel get_config\n"
ALL = {"lr": 0.02, "optimizer": "adam", "units": 4, "n_layers": 1, "name": "", "seed": None}


@pytest.fixture
def declared(project: Project) -> Project:
    """The toy with declared hyperparameters and no get_config."""
    (project.path / "hparams.py").write_text(HPARAMS)
    project.define(ALONE)
    return project


def write_hparams(project: Project, source: str) -> None:
    """Another hparams.py, which this process then loads."""
    (project.path / "hparams.py").write_text(source)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(project.path)):
            del sys.modules[name]


def config(project: Project) -> Any:
    """What the best trial was trained with."""
    return project.json("best_config/config.json")


def test_a_training_has_the_defaults(declared: Project) -> None:
    assert declared.run("-ep", "1").code == 0
    assert config(declared) == ALL
    assert declared.json("run.json")["definition"]["hparams"] == 1


def test_the_screen_has_what_is_searched_and_what_is_no_default(declared: Project) -> None:
    told = declared.run("-ep", "1", "--n-layers", "2").out
    assert "training: lr=0.02  units=4  n_layers=2\n" in told


def test_flags_give_values(declared: Project) -> None:
    flags = ("--lr", "1e-2", "--n_layers", "3", "--optimizer=sgd", "--set", "seed=7", "--set", "units=8")
    assert declared.run("-ep", "1", *flags).code == 0
    assert config(declared) == ALL | {"lr": 0.01, "n_layers": 3, "optimizer": "sgd", "seed": 7, "units": 8}
    assert declared.json("run.json")["settings"]["seed"] == 0


def test_a_model_has_them_as_config_and_hparams(declared: Project) -> None:
    declared.define(
        ALONE
        + """
class Model(Model):
    def init_model(self):
        same = dict(self.config) == dict(self.hparams)
        print("as declared:", self.hparams, type(self.hparams) is hparams, same)
        super().init_model()
"""
    )
    told = declared.run("-ep", "1", "--units", "8").out
    assert "as declared: Everything(units=8) True True" in told


def test_a_schedule_reads_as_of_the_moment(declared: Project) -> None:
    declared.define(
        ALONE
        + """
class Model(Model):
    def on_epoch_end(self, row):
        return {"now": self.hparams.lr, "same": float(self.hparams.lr == self.config["lr"])}
"""
    )
    schedule = {"__schedule__": "LinearSchedule", "start": 0.04, "end": 0.0, "duration": 4}
    assert declared.run("-ep", "3", "--lr", json.dumps(schedule)).code == 0
    rows = declared.read("best_config/train_results.csv").splitlines()
    columns = rows[0].split(",")
    now, same = columns.index("now"), columns.index("same")
    assert [float(row.split(",")[now]) for row in rows[1:]] == pytest.approx([0.04, 0.03, 0.02])
    assert [row.split(",")[same] for row in rows[1:]] == ["1.0"] * 3


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--lrr", "1"], "unrecognized arguments: --lrr 1; --lrr: did you mean --lr?"),
        (["--uni", "4"], "unrecognized arguments: --uni 4; --uni: did you mean --units?"),
        (["--epoc", "4"], "unrecognized arguments: --epoc 4; --epoc: did you mean --epoch?"),
        (["--lr", "fast"], "--lr is 'fast'; it has to be a finite number (Optimizing.lr: learning rate)"),
        (["--optimizer", "lion"], "--optimizer is 'lion'; it has to be one of 'adam', 'sgd'"),
        (["--set", "units=4.5"], "--set units is '4.5'; it has to be a whole number"),
        (["--set", "unit=4"], "Everything has no hyperparameter 'unit'; did you mean units?"),
        (["--set", "lr=1", "--lr", "2"], "--set lr=1 and --lr 2 both give lr; leave one of them out"),
        (["--hyper", "--lr", "x"], "--lr is 'x'; it has to be a finite number"),
    ],
)
def test_a_wrong_value_is_told_before_any_work(declared: Project, flags: list[str], told: str) -> None:
    found = declared.run(*flags)
    assert found.code == 2
    assert told in found.err
    assert not (declared.results / "run.json").exists()


def test_the_file_of_config_is_checked_too(declared: Project) -> None:
    file = declared.path / "c.json"
    for text, told in [
        ('{"units": "4"}', "c.json: Encoding.units is '4'; it has to be a whole number"),
        ('{"unit": 4}', "c.json: Everything has no hyperparameter 'unit'; did you mean units?"),
    ]:
        file.write_text(text)
        found = declared.run("--config", str(file))
        assert (found.code, told in found.err) == (2, True), found.err


def test_what_wins_is_the_default_then_get_config_then_the_file_then_a_flag(declared: Project) -> None:
    declared.define(USE + "\ndef get_config():\n    return {'units': 5, 'n_layers': 5, 'optimizer': 'sgd'}\n")
    file = declared.path / "c.json"
    file.write_text('{"n_layers": 6, "optimizer": "adam", "name": "file"}')
    flags = ("--config", str(file), "--name", "flag", "--set", "optimizer=sgd")
    assert declared.run("-ep", "1", *flags).code == 0
    assert config(declared) == ALL | {"units": 5, "n_layers": 6, "optimizer": "sgd", "name": "flag"}


def test_null_in_a_file_is_the_default(declared: Project) -> None:
    (declared.path / "c.json").write_text('{"lr": null, "units": 8}')
    assert declared.run("-ep", "1", "--config", str(declared.path / "c.json")).code == 0
    assert config(declared) == ALL | {"units": 8}


def test_a_name_of_main_is_reached_by_set_alone_and_that_is_said(declared: Project) -> None:
    found = declared.run("-ep", "1", "--seed", "3")
    note = "note: --seed is a flag of main.py; the hyperparameter seed of Encoding is given by --set seed="
    assert note in found.out
    assert (config(declared)["seed"], declared.json("run.json")["settings"]["seed"]) == (None, 3)


@pytest.mark.parametrize("name", ["a b", "it's", '"', "a;touch x", "$(touch x)", "`touch x`", "two\nlines"])
def test_a_string_is_never_code(declared: Project, name: str) -> None:
    assert declared.run("--dry-run", f"--name={name}").code == 0
    assert declared.run("-ep", "1", "--name", name).code == 0
    assert config(declared)["name"] == name
    assert declared.run("--eval", "--report-nothing").code == 2  # an unknown flag, whatever was stored
    assert not (declared.path / "x").exists()


def test_help_with_a_model_lists_them_by_class(declared: Project) -> None:
    told = " ".join(declared.run("--help").out.split())
    assert "hyperparameters: Optimizing: How it is optimized. --lr X learning rate (default: 0.02;" in told
    assert "searched: 0.003 to 0.03, log=True)" in told
    assert "--n-layers N, --n_layers N layers (default: 1)" in told
    assert "--set seed=N a name of main.py's own (default: none); main.py has --seed itself" in told
    assert "--hyper" in told


def test_a_definition_that_cannot_be_read_is_told(declared: Project) -> None:
    declared.definition.write_text("def (")
    assert "def.py, line 1" in declared.run("--lr", "1").err
    declared.definition.unlink()
    assert "cannot read the definition" in declared.run("--lr", "1").err
    assert declared.run("--help").code == 0


def test_help_of_a_broken_definition_tells_its_fault(declared: Project) -> None:
    declared.define(USE + "\n1 / 0\n")
    found = declared.run("--help")
    assert (found.code, "ZeroDivisionError" in found.err) == (2, True)


def test_help_without_a_model_does_not_load_one() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "main.py"), "--help"], capture_output=True, text=True)
    assert (done.returncode, "hyperparameters:" in done.stdout) == (0, False)


# Results that are there.


def test_an_evaluation_takes_the_values_of_the_result(declared: Project) -> None:
    assert declared.run("-ep", "1", "--units", "8").code == 0
    assert declared.run("--eval").code == 0
    assert declared.run("--eval", "--units", "8", "--predict", "x.fa").code == 0
    for flags in (["--units", "4"], ["--set", "units=4"], ["--lr", "0.5", "--eval"]):
        found = declared.run(*flags)
        assert (found.code, "has the configuration" in found.err) == (2, True), flags
    assert config(declared) == ALL | {"units": 8}


def test_a_training_goes_on_with_its_values(declared: Project) -> None:
    assert declared.run("-ep", "1", "--units", "8").code == 0
    assert declared.run("-ep", "2").code == 0
    assert declared.run("-ep", "3", "--units", "8").code == 0
    assert config(declared) == ALL | {"units": 8}
    assert declared.read("best_config/train_results.csv").count("\n") == 4


def test_a_training_goes_on_from_the_state_of_another(declared: Project) -> None:
    assert declared.run("-ep", "1", "--units", "8").code == 0
    declared.results.rename(declared.path / "first")
    state = str(declared.path / "first/trials/single/checkpoints/last.pt")
    other = declared.run("-ep", "2", "--train", "--resume-from", state, "--units", "4")
    assert (other.code, "was trained with the configuration" in other.err) == (2, True)
    assert declared.run("-ep", "2", "--train", "--resume-from", state, "--units", "8").code == 0
    assert config(declared) == ALL | {"units": 8}


def test_a_result_of_another_version_is_refused(declared: Project) -> None:
    assert declared.run("-ep", "1").code == 0
    raised = HPARAMS.replace("    lr: float = hparam(0.02", "    version = 2\n    lr: float = hparam(0.03")
    write_hparams(declared, raised)
    found = declared.run("--eval")
    told = "was made with version 1 of the hyperparameters in hparams, and now it is version 2"
    assert (found.code, told in found.err) == (2, True)
    forced = declared.run("--eval", "--force")
    assert (forced.code, "the version of hparams was 1, and is 2" in forced.out) == (0, True)
    assert config(declared) == ALL
    assert declared.run("--eval").code == 0


def test_a_hyperparameter_that_came_later_has_its_default(declared: Project) -> None:
    assert declared.run("-ep", "1", "--units", "8").code == 0
    later = HPARAMS.replace("    units:", '    later: int = hparam(9, "later")\n    units:')
    write_hparams(declared, later)
    declared.define(ALONE)
    assert declared.run("--eval").code == 0
    assert declared.run("--eval", "--later", "9").code == 0
    assert declared.run("--eval", "--later", "8").code == 2
    assert "later" not in config(declared)


def test_a_stored_name_that_is_no_longer_declared_is_told(declared: Project) -> None:
    assert declared.run("-ep", "1").code == 0
    write_hparams(declared, HPARAMS.replace("n_layers", "n_blocks"))
    found = declared.run("--eval")
    assert (found.code, "Everything has no hyperparameter 'n_layers'; it has" in found.err) == (2, True)
    assert "'n_layers': 1, 'name': '', 'seed': None} does not fit the definition's hparams" in found.err


def test_a_model_may_have_an_attribute_hparams_of_its_own(project: Project) -> None:
    project.define("""
class Model(Model):
    def init_model(self):
        self.hparams = {"lr": 0.5}
        super().init_model()
        print("its own:", self.hparams)
""")
    assert "its own: {'lr': 0.5}" in project.run("-ep", "1").out


def test_a_definition_without_hparams_says_so(project: Project) -> None:
    project.define("""
class Model(Model):
    def init_model(self):
        super().init_model()
        self.hparams.lr
""")
    found = project.run("-ep", "1")
    assert (found.code, "it has no class hparams; read self.config" in found.err) == (2, True)


# Searches.


def trials(project: Project) -> list[dict[str, Any]]:
    """The configurations that a search drew."""
    return [event["config"] for event in project.journal() if event["event"] == "trial"]


SEARCH = ("--hyper", "-ep", "1", "--schedule", "none", "--trials")


def test_a_search_tunes_what_is_searched_and_fixes_what_is_given(declared: Project) -> None:
    found = declared.run(*SEARCH, "3", "--units", "8", "--set", "n_layers=2")
    assert found.code == 0, found.err
    assert "fixed: units=8 n_layers=2" in " ".join(found.out.split()).replace(", ", " ")
    drawn = trials(declared)
    assert [{**one, "lr": 0} for one in drawn] == [ALL | {"lr": 0, "units": 8, "n_layers": 2}] * 3
    assert len({one["lr"] for one in drawn}) == 3
    assert all(0.003 <= one["lr"] <= 0.03 for one in drawn)
    assert declared.json("run.json")["log_scaled"] == ["lr"]
    assert config(declared) in drawn
    other = declared.run(*SEARCH, "4", "--units", "4")
    assert (other.code, "set" in other.err) == (2, True)
    assert declared.run(*SEARCH, "4", "--units", "8", "--set", "n_layers=2").code == 0
    assert len(trials(declared)) == 4


def test_a_search_over_a_list_ends_when_all_is_tried(declared: Project) -> None:
    assert declared.run(*SEARCH, "5", "--lr", "0.01").code == 0
    assert sorted(one["units"] for one in trials(declared)) == [4, 8]


def test_get_config_goes_before_what_is_searched(declared: Project) -> None:
    declared.define(
        USE
        + "\nfrom hyperopt import hp\ndef get_config():\n    return {'lr': hp.uniform('lr', 0.001, 0.002)}\n"
    )
    found = declared.run(*SEARCH, "4", "--optimizer", "sgd")
    assert found.code == 0, found.err
    drawn = trials(declared)
    assert all(0.001 <= one["lr"] <= 0.002 and one["optimizer"] == "sgd" for one in drawn)
    assert all(set(one) == set(ALL) for one in drawn)


def test_what_hyperopt_draws_is_checked_before_any_work(declared: Project) -> None:
    declared.define(
        f"{USE}\nfrom hyperopt import hp\n"
        "def get_config():\n    return {'units': hp.quniform('units', 2, 8, 1)}\n"
    )
    found = declared.run(*SEARCH, "1")
    assert (found.code, "it has to be a whole number" in found.err) == (2, True)
    assert "get_config() drew {" in found.err


def test_a_value_that_get_config_draws_seldom_is_checked_too(declared: Project) -> None:
    draw = "hp.choice('o', ['adam'] * 19 + ['rmsprop'])"
    declared.define(
        f"{USE}\nfrom hyperopt import hp\ndef get_config():\n    return {{'optimizer': {draw}}}\n"
    )
    found = declared.run(*SEARCH, "1")
    assert (found.code, "it has to be one of 'adam', 'sgd'" in found.err) == (2, True)
    assert not (declared.results / "trials").exists()


def test_what_hyperopt_draws_is_stored_in_its_form(declared: Project) -> None:
    declared.define(
        f"{USE}\nfrom hyperopt import hp\n"
        "def get_config():\n"
        "    return {'units': hp.choice('u', [4, 8]), 'lr': hp.choice('l', [1, None]), 'optimizer': 'sgd'}\n"
    )
    assert declared.run(*SEARCH, "9").code == 0  # which exhausts the space
    drawn = [(each["units"], each["lr"], type(each["lr"]), each["optimizer"]) for each in trials(declared)]
    every = {(units, lr, float, "sgd") for units in (4, 8) for lr in (1.0, 0.02)}
    assert (len(drawn), set(drawn)) == (4, every)


def test_get_config_may_return_values_of_numpy(declared: Project) -> None:
    declared.define(
        f"{USE}\nimport numpy as np\n"
        "def get_config():\n"
        "    return {'optimizer': np.random.choice(['sgd']), 'units': np.array(8), 'lr': np.float64(0.5)}\n"
    )
    assert declared.run("-ep", "1").code == 0
    assert config(declared) == ALL | {"optimizer": "sgd", "units": 8, "lr": 0.5}


def test_what_is_given_goes_before_get_config_in_any_combination(declared: Project) -> None:
    declared.define(
        f"{USE}\nimport random\n"
        "def get_config():\n"
        "    units = random.choice([4, 8])\n"
        "    return {'units': units, 'n_layers': units // 4, 'name': f'u{units}'}\n"
    )
    assert declared.run("-ep", "1", "--units", "8").code == 0
    assert config(declared) == ALL | {"units": 8, "n_layers": 2, "name": "u8"}
    declared.clear()
    assert declared.run("-ep", "1", "--units", "8", "--n-layers", "1").code == 0
    assert (config(declared)["units"], config(declared)["n_layers"]) == (8, 1)


def test_a_fixed_value_stays_where_get_config_seldom_draws_its_name(project: Project) -> None:
    from helixband.definition import load_definition
    from helixband.search.space import configurations

    (project.path / "hparams.py").write_text(HPARAMS)
    project.define(
        f"{USE}\ncalls = 0\n"
        "def get_config():\n"
        "    global calls\n"
        "    calls += 1\n"
        "    return {'lr': 0.5} if calls > 200 else {}\n"
    )
    drawn = configurations(load_definition(str(project.definition)), {"lr": 0.01}, 0, searches=True)
    assert [drawn()["lr"] for _ in range(3)] == [0.01] * 3


def test_a_text_with_spaces_is_no_value_of_the_flag_before_it(declared: Project) -> None:
    flags = ("-ep", "1", "--with", "clip_norm=1", "--name=a b")
    assert declared.run(*flags).code == 0
    assert config(declared)["name"] == "a b"


def test_get_config_can_return_declared_names_alone(declared: Project) -> None:
    declared.define(USE + "\ndef get_config():\n    return {'unit': 5}\n")
    found = declared.run(*SEARCH, "1")
    assert found.code == 2
    assert (
        "get_config() returned {'unit': 5}: Everything has no hyperparameter 'unit'; did you mean"
        in found.err
    )


def test_known_configurations_come_first_and_may_leave_names_out(declared: Project) -> None:
    file = declared.path / "tries.json"
    file.write_text('[{"lr": 0.005}, {"lr": 0.006, "units": 16}]')
    assert declared.run(*SEARCH, "3", "--try", str(file), "--n-layers", "2").code == 0
    drawn = trials(declared)
    assert drawn[:2] == [
        ALL | {"lr": 0.005, "n_layers": 2},
        ALL | {"lr": 0.006, "units": 16, "n_layers": 2},
    ]
    file.write_text('{"lr": "x"}')
    found = declared.run("--hyper", "--try", str(file), "--dry-run")
    assert "tries.json: configuration 1: Optimizing.lr is 'x'" in found.err


def test_a_search_needs_something_to_search(declared: Project) -> None:
    (declared.path / "hparams.py").write_text(
        HPARAMS.replace(", search=Range(0.003, 0.03, log=True)", "").replace(", search=[4, 8]", "")
    )
    found = declared.run("--hyper")
    assert found.code == 2
    assert "no hyperparameter of" in found.err
    assert "are to be tuned a search=[…] or search=Range(…), or write get_config()" in found.err


def test_workers_have_them_too(declared: Project) -> None:
    found = declared.run(*SEARCH, "2", "--workers", "2", "--units", "8")
    assert found.code == 0, found.err
    assert [one["units"] for one in trials(declared)] == [8, 8]


# Definitions.


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("hparams = {'lr': 1}", "hparams is {'lr': 1} (dict); it has to be a class derived from"),
        ("import hparams", "run looks at them; write from hparams import Everything as hparams"),
        ("from hparams import Everything", "no run looks at them; write hparams = Everything"),
        ("from hparams import *", "no run looks at them; write hparams = Everything"),
    ],
)
def test_what_is_no_class_of_hyperparameters_is_told(declared: Project, source: str, told: str) -> None:
    declared.define(f"\n{source}\n")
    for flags in ((), ("--lr", "1")):
        found = declared.run(*flags)
        assert (found.code, told in found.err) == (2, True), found.err


def test_a_file_hparams_of_another_purpose_is_left_alone(project: Project) -> None:
    (project.path / "hparams.py").write_text("LR = 0.01\n")
    project.define("\nfrom hparams import LR\n")
    assert project.run("-ep", "1", "--set", "lr=0.01", "--set", "units=4").code == 0
    assert project.run("--lr", "1").code == 2


def test_hyperparameters_of_the_definitions_own_use_are_left_alone(declared: Project) -> None:
    declared.define("\nfrom hparams import Encoding\nUNITS = Encoding().units\n")
    assert declared.run("--dry-run").code == 0


def test_the_class_can_stand_in_the_definition_itself(project: Project) -> None:
    project.define()
    source = project.definition.read_text()
    declared = """

from helixband.hparams import Hparams, hparam


class hparams(Hparams):
    lr: float = hparam(0.02, "learning rate")
    units: int = hparam(4, "hidden units")
"""
    project.definition.write_text(f"from __future__ import annotations\n\n{source}{declared}")
    assert project.run("-ep", "1", "--units", "6", "--lr", "0.01").code == 0
    assert config(project) == {"lr": 0.01, "units": 6}


def test_the_example_takes_its_hyperparameters_as_flags(project: Project) -> None:
    for name in ("hparams.py", "named_model.py", "reg_model.py"):
        shutil.copy(ROOT / "examples/function_regressor" / name, project.path)
    for name, rows in {"train": 40, "test": 20}.items():
        for part, columns in {"X": 10, "Y": 1}.items():
            values = np.column_stack([np.arange(rows), np.random.default_rng(0).random((rows, columns))])
            np.savetxt(project.data / f"{part}_{name}.csv", values, delimiter=",", header="x", comments="")
    project.definition = project.path / "named_model.py"
    flags = ("--hidden-units", "32", "--optimizer", "sgd", "--clip-norm", "1", "--limit-train", "1")
    assert project.run("-ep", "1", "--eval", *flags).code == 0
    table = project.read("best_config/train_results.csv")
    assert "gradient_norm" in table.partition("\n")[0]  # as clipping has it in the row
    assert config(project)["hidden_units"] == 32
    assert project.run("--eval", "--clip-norm", "2").code == 2


TRAINING = """
from helixband.hparams import hparam
from helixband.hparams.groups import Training


class hparams(Training):
    lr: float = hparam(0.02, "learning rate")
    units: int = hparam(4, "hidden units")
"""


def test_an_option_that_the_model_does_not_take_is_told(declared: Project) -> None:
    declared.define(TRAINING)
    assert declared.run("-ep", "1", "--dry-run").code == 0
    found = declared.run("-ep", "1", "--clip-norm", "1")
    told = "the hyperparameter clip_norm is 1.0, and the model is trained with the default: give training="
    assert (found.code, told in found.err) == (2, True)
    assert declared.run("-ep", "1", "--clip-norm", "1", "--with", "clip_norm=2").code == 0


def test_options_of_the_command_line_go_before_those_of_hparams(declared: Project) -> None:
    declared.define(
        TRAINING
        + """
from base_model import TrainingOptions

class Model(RegressionModel):
    def init_model(self):
        network = nn.Linear(3, 1)
        options = TrainingOptions.from_hparams(self.hparams)
        super().init_model(network, nn.MSELoss(), optim.Adam(network.parameters()), training=options)
        print("clipped to", self.engine.options.clip_norm, "and", self.engine.options.clip_value)
"""
    )
    found = declared.run("-ep", "1", "--clip-norm", "1", "--clip-value", "3", "--with", "clip_norm=2")
    assert found.code == 0, found.err
    assert "clipped to 2.0 and 3.0" in found.out


def test_a_wrong_declaration_is_told_with_its_place(declared: Project) -> None:
    (declared.path / "hparams.py").write_text(HPARAMS.replace('"hidden units"', '""'))
    found = declared.run()
    assert (found.code, "Encoding.units: the help is empty" in found.err) == (2, True)
    assert "hparams.py, line" in found.err


def test_a_definition_without_hparams_has_no_flags(project: Project) -> None:
    found = project.run("--lr", "1")
    assert (found.code, "unrecognized arguments: --lr 1" in found.err) == (2, True)
    assert not Path(project.results).exists()
