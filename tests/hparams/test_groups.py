"""Our own groups: they fit together, mirror what they are for, and keep their meaning."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from base_model import TrainingOptions
from helixband.errors import DefinitionError
from helixband.hparams import Hparams
from helixband.hparams.flags import FLAGS_OF_MAIN
from helixband.hparams.groups import GROUPS, Optimizing, Training
from helixband.training.options import OPTIONS
from helixband.training.schedules import LinearSchedule

LIGHTNING = """
accelerator strategy devices num_nodes precision logger callbacks fast_dev_run max_epochs min_epochs max_steps
min_steps max_time limit_train_batches limit_val_batches limit_test_batches limit_predict_batches
overfit_batches val_check_interval check_val_every_n_epoch num_sanity_val_steps log_every_n_steps
enable_checkpointing enable_progress_bar enable_model_summary accumulate_grad_batches gradient_clip_val
gradient_clip_algorithm deterministic benchmark inference_mode use_distributed_sampler profiler detect_anomaly
barebones plugins sync_batchnorm reload_dataloaders_every_n_epochs default_root_dir enable_autolog_hparams
model_registry
"""
"""The arguments of its Trainer, as of 2.6."""
VERSIONS = Path(__file__).with_name("versions")


class Everything(*GROUPS):  # type: ignore[misc]
    """All of ours in one namespace."""


def test_all_groups_fit_into_one_namespace_with_help() -> None:
    fields = Everything.fields().values()
    assert len(fields) == sum(len(group.fields()) for group in GROUPS)
    assert all(len(field.help) > 5 for field in fields)
    text = Everything.parser().format_help()
    assert all(f"hyperparameters: {group.__name__}:" in text for group in GROUPS)
    assert Everything.parse(Everything(lr=1.0, nan="skip").args()) == Everything(lr=1.0, nan="skip")


def test_no_group_has_a_name_of_a_flag_of_main() -> None:
    from helixband.hparams.flags import has_flag

    assert [str(field) for field in Everything.fields().values() if not has_flag(field)] == []


def test_training_has_the_options_of_a_training() -> None:
    written = {name: each for name, each in OPTIONS.items() if not each.metadata["of_objects"]}
    fields = Training.fields()
    assert list(fields) == list(written)
    assert {name: field.help for name, field in fields.items()} == {
        name: each.metadata["help"] for name, each in written.items()
    }
    assert {name: field.default for name, field in fields.items()} == {
        name: each.default for name, each in written.items()
    }


def test_options_are_made_from_hyperparameters() -> None:
    assert TrainingOptions.from_hparams(Everything()) == TrainingOptions()
    words = (
        "--clip-norm 0.5 --limit-train 10 --limit-val 0.5 --limit-test 1.0 --precision 16 --patience 3 "
        "--freeze 'encoder.*=3,head=1' --scheduler-interval step --renew-batch-norm true"
    )
    made = TrainingOptions.from_hparams(Everything.parse(words), scheduler_metric="val_loss")
    assert made == TrainingOptions(
        **{"clip_norm": 0.5, "limit_train": 10, "limit_val": 0.5, "limit_test": 1.0, "precision": "16"},
        **{"patience": 3, "freeze": {"encoder.*": 3, "head": 1}, "scheduler_interval": "step"},
        **{"renew_batch_norm": True, "scheduler_metric": "val_loss"},
    )
    schedule = LinearSchedule(start=1.0, end=0.5, duration=3)
    assert TrainingOptions.from_hparams(Training(clip_norm=schedule)).clip_norm is schedule
    assert TrainingOptions.from_hparams({"clip_norm": 2.0, "units": 3}) == TrainingOptions(clip_norm=2.0)


@pytest.mark.parametrize(
    ("name", "value"), [("limit_train", "many"), ("limit_train", "0"), ("freeze", ["a=b"])]
)
def test_a_text_that_is_no_value_of_an_option_is_refused(name: str, value: Any) -> None:
    with pytest.raises(DefinitionError, match=name):
        TrainingOptions.from_hparams({name: value})


@pytest.mark.parametrize("group", GROUPS)
def test_every_version_has_a_configuration_that_is_kept(group: type[Hparams]) -> None:
    kept = {path.name for path in VERSIONS.glob(f"{group.__name__}_v*.json")}
    assert kept == {f"{group.__name__}_v{version}.json" for version in range(1, group.version + 1)}


@pytest.mark.parametrize("path", sorted(VERSIONS.glob("*.json")), ids=lambda path: path.stem)
def test_a_configuration_of_every_version_means_what_it_meant(path: Path) -> None:
    name, _, version = path.stem.rpartition("_v")
    group = next(group for group in GROUPS if group.__name__ == name)
    kept = json.loads(path.read_text())
    now = group(kept["values"]).to_json()
    assert {name: now[name] for name in kept["values"]} == kept["values"]
    assert kept["path"].startswith(f"v{version}/")
    if int(version) == group.version:
        assert group(kept["changed"]).to_json() == kept["values"]
        assert group(kept["changed"]).path() == kept["path"]


def test_the_path_of_another_version_is_another() -> None:
    class Raised(Optimizing):
        version = 2

    assert (Optimizing(lr=0.1).path(), Raised(lr=0.1).path()) == ("v1/lr=1.00E-01", "v2/lr=1.00E-01")


def test_the_table_of_lightnings_arguments_names_what_there_is() -> None:
    page = (ROOT / "docs" / "hparams.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.partition("| Lightning | here |")[2].splitlines()[2:]]
    theirs = [name for row in rows for name in re.findall("`(\\w+)`", row[0])]
    assert sorted(theirs) == sorted(LIGHTNING.split())
    ours = {name for row in rows for name in re.findall("`((?:--)?[a-z_-]+)`", row[1])}
    ours -= {"train_step"}  # a method
    flags = {f"--{name}" for name in FLAGS_OF_MAIN}
    assert {name for name in ours if name.startswith("--")} <= flags
    assert {name for name in ours if not name.startswith("--")} <= Training.fields().keys()


def test_the_example_of_paths_holds() -> None:
    page = (ROOT / "docs" / "hparams.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall("```python\n(.*?)```", page, re.S)[:1]:
        exec(block, names)
    for call, path in re.findall(r">>> (Everything\(.*\)\.path\(\))\n'(.*)'", page):
        assert eval(call, names) == path
