"""YAML experiments as Hydra composes them, without a run: groups, search spaces, older keys, faults."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helixband.errors import DefinitionError, UsageError
from helixband.hparams import Range
from helixband.interop.composing import compose, find_file
from helixband.interop.experiment import checked_plan, goal, source
from helixband.interop.older import removed_hooks, translated
from helixband.interop.searched import declared, hyperparameters, space
from helixband.run.experiments import expanded

FILES = {
    "train.yaml": """\
defaults:
  [_self_, data: pictures, model: linear, hydra: default, experiment: null, search: null, debug: null]
name: first
""",
    "data/pictures.yaml": "{_target_: collections.OrderedDict, batch_size: 10, dir: '${paths.data_dir}'}",
    "model/linear.yaml": """\
_target_: torch.nn.Linear
in_features: 3
out_features: ${model.in_features}
optimizer: {_target_: torch.optim.SGD, _partial_: true, lr: 0.1}
""",
    "model/other.yaml": "{_target_: torch.nn.Bilinear, in_features: 4}",
    "hydra/default.yaml": """\
defaults: [override hydra_logging: colorlog, override job_logging: colorlog]
run: {dir: 'logs/${name}/${now:%Y}'}
""",
    "experiment/large.yaml": """\
# @package _global_
defaults: [override /model: other]
model: {in_features: 9}
""",
    "debug/default.yaml": "# @package _global_\ntrainer: {max_epochs: 1}\n",
    "search/params.yaml": """\
# @package _global_
defaults: [override /hydra/sweeper: optuna]
hydra:
  mode: MULTIRUN
  sweeper:
    direction: maximize
    sampler: {seed: 1}
    params:
      model.optimizer.lr: tag(log, interval(0.001, 0.1))
      model.in_features: choice(3, 5)
      data.batch_size: range(10, 40, 10)
      name: a, b
""",
    "search/space.yaml": """\
# @package _global_
defaults: [override /hydra/sweeper: optuna]
hydra:
  sweeper:
    search_space:
      model.optimizer.lr: {type: float, low: 0.001, high: 0.1, log: true}
      model.in_features: {type: int, low: 2, high: 8, step: 2}
      name: {type: categorical, choices: [a, b]}
""",
}


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the files above."""
    monkeypatch.setenv("PROJECT_ROOT", str(tmp_path))
    folder = tmp_path / "configs"
    for name, text in FILES.items():
        text = text.replace("${paths.data_dir}", "${oc.env:PROJECT_ROOT}/data")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    yield folder


def composed(configs: Path, *overrides: str) -> Any:
    return compose(configs / "train.yaml", overrides, configs.parent / "results")


def test_groups_overrides_and_interpolations_are_hydras(configs: Path) -> None:
    job = composed(
        configs, "experiment=large", "model.in_features=7", "+model.more=${hydra:runtime.output_dir}"
    ).job
    assert job.model._target_ == "torch.nn.Bilinear"
    assert job.model.in_features == 7
    assert job.model.more == str(configs.parent / "results")
    assert job.data.dir == f"{configs.parent}/data"
    assert "hydra" not in job


def test_the_directory_of_hydra_is_that_of_the_results(configs: Path) -> None:
    assert composed(configs).config.hydra.run.dir == str(configs.parent / "results")


def test_the_root_is_the_folder_above_the_configurations(
    configs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROJECT_ROOT")
    assert composed(configs).job.data.dir == f"{configs.parent}/data"
    assert os.environ["PROJECT_ROOT"] == str(configs.parent)


def test_the_job_is_printed_with_its_interpolations(configs: Path) -> None:
    text = composed(configs, "name=x").text()
    assert "out_features: ${model.in_features}" in text
    assert "name: x" in text


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["model.in_feature=1"], r"model.in_feature: there is no such key; did you mean model.in_features\?"),
        (["modl=linear"], r"override of modl: there is no such key; did you mean model\?"),
        (["model=lineal"], r"there is no model=lineal; did you mean linear\?"),
        (["model.in_features=[1"], r"override 'model.in_features=\[1' cannot be read"),
        (["name=${name}"], "at name: it needs its own value: its interpolations .* go round in a circle"),
        (["+a=${b}", "+b=${a}"], "go round in a circle"),
        (["name=${nam}"], "'nam' not found"),
        (["name=???"], r"name is \?\?\?, a value that has to be given: add name="),
        (["model=null"], "model=null: to leave a group out, write ~model"),
        (["experiment=x"], r"there is no experiment=x; there are large"),
    ],
)  # fmt: skip
def test_what_hydra_refuses_is_told_with_what_may_be_meant(
    configs: Path, overrides: list[str], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        composed(configs, *overrides)


def test_a_circle_of_files_is_told_with_them(configs: Path) -> None:
    (configs / "model/a.yaml").write_text("defaults: [b]")
    (configs / "model/b.yaml").write_text("defaults: [a]")
    with pytest.raises(UsageError, match=r"circle: model/a.yaml -> model/b.yaml -> model/a.yaml"):
        (configs / "train.yaml").write_text("defaults: [{model: a}]")
        composed(configs)
    (configs / "train.yaml").write_text("defaults:\n  - _self_\n  - model: c\n")
    (configs / "model" / "c.yaml").write_text("lr: 1\n")
    with pytest.raises(UsageError, match=r"circle: model/a.yaml -> model/b.yaml -> model/a.yaml"):
        composed(configs, "model=a")


def test_a_file_that_is_not_there_is_told_with_the_nearest(configs: Path) -> None:
    with pytest.raises(UsageError, match=r"no file .*/trian.yaml; .*did you mean train.yaml\?"):
        find_file(str(configs / "trian"), None)
    assert find_file("train", str(configs)) == configs / "train.yaml"


def test_a_target_that_cannot_be_imported_is_told_with_its_part(configs: Path) -> None:
    overrides = [
        "model._target_=torch.nn.Lineal",
        "data._target_=torhc.x",
        "model.optimizer._target_=torch.optin.SGD",
    ]
    with pytest.raises(DefinitionError) as caught:
        checked_plan(composed(configs, *overrides))
    text = str(caught.value)
    assert "3 of its targets cannot be imported" in text
    assert "model._target_ is torch.nn.Lineal: torch.nn has no Lineal" in text
    assert "data._target_ is torhc.x: there is no module torhc" in text
    assert "model.optimizer._target_ is torch.optin.SGD: torch has no optin; did you mean optim?" in text


def test_a_gpu_that_is_not_there_is_refused(configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(UsageError, match="trainer.accelerator is gpu, and there is no such device"):
        checked_plan(composed(configs, "+trainer.accelerator=gpu"))


# Search spaces and hyperparameters.


def test_params_are_read_as_hydra_reads_sweeps(configs: Path) -> None:
    assert space(composed(configs, "search=params")) == {
        "model.optimizer.lr": Range(0.001, 0.1, log=True),
        "model.in_features": [3, 5],
        "data.batch_size": [10, 20, 30],
        "name": ["a", "b"],
    }


def test_a_search_space_by_types_is_the_same(configs: Path) -> None:
    assert space(composed(configs, "search=space")) == {
        "model.optimizer.lr": Range(0.001, 0.1, log=True),
        "model.in_features": Range(2, 8, step=2),
        "name": ["a", "b"],
    }


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ("+hydra.sweeper.params.name=interval(2)", "params.name"),
        ("+hydra.sweeper.params.name=a", "it is one value, and nothing to search"),
        (
            "+hydra.sweeper.search_space.name={type: flaot, low: 0, high: 1}",
            r"type flaot is none; did you mean float\?",
        ),
        ("+hydra.sweeper.search_space.name={type: float, low: 0}", "'high' is missing"),
        ("+hydra.sweeper.search_space.name={type: float, low: 1, high: 0}", "low has to be below high"),
        ("+hydra.sweeper.search_space.name={type: int, low: 1, high: 2, q: 1}", "int has no q"),
        ("+hydra.sweeper.search_space.name={type: categorical, choices: []}", "it has no choice"),
    ],
)
def test_a_search_space_that_has_no_form_is_refused(configs: Path, told: str, error: str) -> None:
    told = told.replace("+hydra", "++hydra").replace("=interval(2)", "='interval(2)'")
    with pytest.raises(UsageError, match=error):
        space(composed(configs, "hydra/sweeper=optuna", told))


def test_a_search_of_a_key_that_is_not_there_is_refused_with_the_nearest(configs: Path) -> None:
    whole = composed(
        configs, "hydra/sweeper=optuna", "++hydra.sweeper.params={model.optimizer.lrr: 'choice(1, 2)'}"
    )
    with pytest.raises(UsageError, match=r"no such key; did you mean model.optimizer.lr\?"):
        hyperparameters(whole, whole.job)


def test_scalar_overrides_and_searched_keys_are_the_hyperparameters(configs: Path) -> None:
    whole = composed(
        configs, "search=space", "data.batch_size=20", "model=other", "+model.optimizer.lr=0.5", "+seed=3"
    )
    found = hyperparameters(whole, whole.job)
    assert list(found) == ["model.optimizer.lr", "model.in_features", "name", "data.batch_size"]
    kind = declared(found)
    assert kind().to_json() == {
        "model.optimizer.lr": 0.5,
        "model.in_features": 4,
        "name": "first",
        "data.batch_size": 20,
    }
    assert kind.space()["model.in_features"] == Range(2, 8, step=2)


def test_sweeps_are_expanded_the_last_fastest() -> None:
    assert expanded(["a=1,2", "b=x", "c=choice(3,4)"]) == [
        ["a=1", "b=x", "c=3"],
        ["a=1", "b=x", "c=4"],
        ["a=2", "b=x", "c=3"],
        ["a=2", "b=x", "c=4"],
    ]
    assert expanded(["a=[1,2]", "b=x"]) is None
    with pytest.raises(UsageError, match="an interval has no end"):
        expanded(["a=interval(0,1)"])


def test_the_text_of_the_definition_has_the_values_and_not_the_place(configs: Path) -> None:
    whole = composed(configs, "model.optimizer.lr=0.5", "debug=default")
    text = source(whole, checked_plan(whole)[0], configs.parent / "results")
    assert "lr: 0.5" in text
    assert "'model.optimizer.lr': {'default': 0.5}" in text
    assert "max_epochs" not in text
    assert str(configs.parent) not in text


def test_what_is_optimized_is_the_experiments_or_what_a_checkpoint_monitors(configs: Path) -> None:
    checkpoint = "+callbacks.best={monitor: val/acc, mode: max}"
    assert goal(composed(configs)) == (None, None)
    assert goal(composed(configs, checkpoint)) == ("val/acc", "max")
    assert goal(composed(configs, checkpoint, "+optimized_metric=val/loss", "+mode=min")) == (
        "val/loss",
        "min",
    )
    assert goal(composed(configs, "search=params", "+optimized_metric=val/f1")) == ("val/f1", "max")


# What Lightning had once.


@pytest.mark.parametrize(
    ("older", "now", "above", "told"),
    [
        ({"gpus": 2}, {"accelerator": "gpu", "devices": 2}, {}, "trainer.gpus=2 is read as trainer.acc"),
        ({"gpus": 0}, {"accelerator": "cpu"}, {}, "trainer.gpus=0 is read as trainer.accelerator=cpu"),
        ({"gpus": None}, {}, {}, "trainer.gpus=null is read as nothing"),
        ({"resume_from_checkpoint": "a.ckpt"}, {}, {"ckpt_path": "a.ckpt"}, "is read as ckpt_path=a.ckpt"),
        ({"weights_summary": None}, {"enable_model_summary": False}, {}, "enable_model_summary=false"),
        ({"progress_bar_refresh_rate": 10}, {"enable_progress_bar": True}, {}, "enable_progress_bar=true"),
        ({"fast_dev_run": False}, {}, {}, "trainer.fast_dev_run=false is read as nothing"),
        ({"accelerator": "ddp"}, {"accelerator": "auto", "strategy": "ddp"}, {}, "as trainer.strategy=ddp"),
    ],
)  # fmt: skip
def test_keys_of_older_trainers_are_translated_with_one_line_each(
    older: dict[str, Any], now: dict[str, Any], above: dict[str, Any], told: str
) -> None:
    found = translated({"max_epochs": 3, **older})
    assert found[:2] == ({"max_epochs": 3, **now}, above)
    assert len(found[2]) == 1 and told in found[2][0]


def test_a_quick_run_is_one_epoch_of_so_many_batches_of_each_set() -> None:
    limits = {f"limit_{name}_batches": 2 for name in ("train", "val", "test", "predict")}
    now, above, told = translated({"max_epochs": 3, "fast_dev_run": 2})
    assert (now, above) == ({"max_epochs": 1, **limits}, {})
    assert told == [
        "trainer.fast_dev_run=2 is read as trainer.max_epochs=1, trainer.limit_train_batches=2, "
        "trainer.limit_val_batches=2, trainer.limit_test_batches=2, trainer.limit_predict_batches=2"
    ]
    assert translated({"fast_dev_run": True})[0]["limit_test_batches"] == 1


def test_a_key_that_nothing_stands_for_is_refused_with_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"trainer.auto_lr_find: .*have --hyper search the learning rate"):
        translated({"auto_lr_find": True})
    assert translated({"auto_lr_find": False})[0] == {}


def test_removed_hooks_are_told_with_their_successors() -> None:
    class Module:
        def training_epoch_end(self, outputs: Any) -> None: ...
        def validation_step(self, batch: Any) -> None: ...

    assert removed_hooks(Module) == [
        "Module.training_epoch_end: Lightning 2 calls it no more; write on_train_epoch_end(self), with the "
        "outputs that training_step kept in self"
    ]
