"""The commands of a Lightning-Hydra project, run in its folder: the lightning starter has its tree."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from interop.projects import made, run

from helixband.run import command

Train = Callable[..., str]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The starter with its data, which is the folder that commands run in."""
    folder = made(tmp_path)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PROJECT_ROOT", raising=False)
    yield folder
    os.environ.pop("PROJECT_ROOT", None)


@pytest.fixture
def train(project: Path, capsys: pytest.CaptureFixture[str]) -> Train:
    """`python main.py --experiment configs/train.yaml …` without its process: what it prints."""

    def call(*words: str, code: int = 0) -> str:
        found = command.main(["--experiment", "configs/train.yaml", *words])
        printed = "".join(capsys.readouterr())
        assert found == code, printed
        return printed

    return call


def test_an_experiment_trains_and_tests_goes_on_and_predicts(project: Path, train: Train) -> None:
    train("trainer.max_epochs=1", "model.lr=0.02", "logger=csv")
    results = project / "results"
    assert json.loads((results / "test_result.json").read_text()).keys() == {"test/loss", "test/acc"}
    assert json.loads((results / "trials/single/config.json").read_text()) == {"model.lr": 0.02}
    composed = (results / "experiment.yaml").read_text()
    assert "lr: 0.02" in composed and "max_epochs: 1" in composed and "output_dir: ${hydra:" in composed

    again = train("trainer.max_epochs=1", "model.lr=0.02", "logger=csv")
    assert "training: done already, to epoch 1" in again and "test: done already" in again
    modules = json.loads((results / "run.json").read_text())["modules"]
    assert modules.keys() == {"src/__init__.py", "src/data.py", "src/model.py"} and "note:" not in again

    (project / "src" / "data.py").write_text((project / "src" / "data.py").read_text() + "\n")
    changed = train("trainer.max_epochs=2", "model.lr=0.02", "logger=csv")
    assert "epoch 2/2" in changed
    assert f"was made with another version of {project}/src/data.py, which the definition imports" in changed

    train("model.lr=0.02", "logger=csv", "--predict", "bars.npz")
    predicted = np.load(results / "predictions" / "bars.npz.npy")
    assert predicted.shape == (600, 4)
    np.testing.assert_allclose(predicted.sum(axis=1), 1, rtol=1e-5)

    refused = train("trainer.max_epochs=2", "model.lr=0.01", "logger=csv", code=2)
    assert "was made by another version of def.py" in refused
    assert "-  lr: 0.02" in refused and "+  lr: 0.01" in refused


def test_an_override_of_a_whole_experiment_and_of_debugging(project: Path, train: Train) -> None:
    printed = train("experiment=wide", "debug=default", "--no-data-check")
    assert "epoch 1/1" in printed
    config = (project / "results" / "def.py").read_text()
    assert "channels: 8" in config and "limit_train_batches: 2" in config


def test_a_search_of_the_experiment_takes_the_best_and_goes_on(project: Path, train: Train) -> None:
    words = ["hparams_search=lr", "--epoch", "2", "--trials", "2", "--schedule", "none", "--no-data-check"]
    assert "best: trial" in train("-m", *words, "datamodule.batch_size=25")
    configs = [json.loads(file.read_text()) for file in sorted(project.glob("results/trials/*/config.json"))]
    assert [set(config) for config in configs] == 2 * [
        {"model.lr", "model.network.channels", "datamodule.batch_size"}
    ]
    assert all(config["datamodule.batch_size"] in (25, 50) for config in configs)
    assert "search: done already" in train("-m", *words, "datamodule.batch_size=25")
    evaluated = train("--eval", "hparams_search=lr", "datamodule.batch_size=25")
    assert "test/acc" in evaluated


def test_cfg_job_prints_the_configuration_and_runs_nothing(project: Path, train: Train) -> None:
    printed = train("--cfg", "job", "model.lr=3")
    assert "lr: 3\n" in printed and "hydra:" not in printed.replace("${hydra:", "")
    assert not (project / "results").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--hyper"], "has no search space: add hparams_search=NAME"),
        (["trainer=gpu"], "trainer.accelerator is gpu, and there is no such device here"),
        (["--set", "model.lr=1"], "model.lr is neither searched nor overridden in this experiment"),
        (["model.network.chanels=1"], "no such key; did you mean model.network.channels?"),
        (["+trainer.auto_lr_find=true"], "trainer.auto_lr_find: Lightning has it no more"),
        (["model.network._target_=src.model.net"], "src.model has no net; did you mean network?"),
        (["+model.width=3"], "model (src.model.BarModule) cannot be made: TypeError"),
        (["seed=one"], "seed is 'one'; it has to be a whole number from 0"),
    ],
)
def test_what_cannot_be_run_is_told_before_any_work(
    project: Path, train: Train, words: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert told in train(*words, code=2)
    assert not list(project.glob("results/trials/*"))


def test_an_experiment_that_evaluates_a_checkpoint_scores_as_after_its_training(
    project: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    train("trainer.max_epochs=1", "model.lr=0.02")
    scored = (project / "results" / "test_result.json").read_text()
    text = (project / "configs" / "train.yaml").read_text()
    without = text.replace("train: true\ntest: true\n", "").replace("task_name: train", "task_name: eval")
    (project / "configs" / "eval.yaml").write_text(without.replace("ckpt_path: null", "ckpt_path: ???"))

    def evaluate(*words: str) -> tuple[int, str]:
        code = command.main(["--experiment", "configs/eval.yaml", *words])
        return code, "".join(capsys.readouterr())

    assert "ckpt_path is ???, a value that has to be given" in evaluate()[1]
    best = "ckpt_path=results/trials/single/checkpoints/best.pt"
    code, printed = evaluate(best, "-r", "evaluated")
    assert code == 0, printed
    assert "best.pt was trained with model.lr=0.02, and here it is 0.01" in printed
    evaluated = project / "evaluated"
    assert (evaluated / "test_result.json").read_text() == scored
    assert not (evaluated / "predictions").exists() and (evaluated / "experiment.yaml").exists()
    assert not (evaluated / "trials" / "single" / "train_results.csv").exists()

    assert evaluate(best, "-r", "evaluated", "--predict", "bars.npz")[0] == 0
    train("train=false", best, "-r", "same")
    assert (project / "same" / "test_result.json").read_text() == scored
    code, printed = evaluate(best, "model.network.channels=6", "-r", "wider")
    assert code == 2 and "a checkpoint of Lightning, does not fit the module of this definition" in printed
    code, printed = evaluate(best)
    assert code == 2 and "was trained there. Leave --weights out" in printed


def test_several_processes_are_refused_in_the_words_of_an_experiment(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helixband.run.checks.number_of_processes", lambda: 2)
    told = "model in configs/train.yaml gives a LightningModule, which Lightning's Trainer trains"
    assert told in train("--epoch", "1", code=2)


def test_a_training_without_end_is_told_how_long_it_is(train: Train) -> None:
    printed = train("trainer.max_epochs=-1", "--dry-run", "--no-data-check")
    assert "note: trainer.max_epochs is -1, without end; a trial has 20, or those of --epoch" in printed
    printed = train("trainer.max_epochs=-1", "--epoch", "1", "--dry-run", "--no-data-check")
    assert "without end" not in printed


def test_a_key_of_an_older_trainer_is_told_in_one_line(train: Train) -> None:
    printed = train("+trainer.gpus=0", "~trainer.accelerator", "--dry-run", "--no-data-check")
    assert printed.count("trainer.gpus=0 is read as trainer.accelerator=cpu") == 1


def test_a_removed_hook_is_refused_with_its_successor(project: Path, train: Train) -> None:
    module = project / "src" / "model.py"
    hook = "    def validation_epoch_end(self, outputs):\n        pass\n\n    def predict_step("
    module.write_text(module.read_text().replace("    def predict_step(", hook, 1))
    printed = train(code=2)
    assert (
        "BarModule.validation_epoch_end: Lightning 2 calls it no more; write on_validation_epoch_end"
        in printed
    )


def test_the_script_of_the_project_takes_overrides_behind_flags(project: Path) -> None:
    printed = run(project, "train.py", "--cfg", "job", "model.lr=7", "experiment=wide")
    assert "lr: 7\n" in printed and "channels: 8" in printed


def test_a_sweep_is_a_job_for_each_combination(
    project: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_of = []
    monkeypatch.setattr(
        "helixband.jobs.Jobs.submit", lambda self, commands: made_of.extend(commands) or "table"
    )
    assert train("-m", "--cpu", "model.lr=0.1,0.2", "trainer.max_epochs=1").endswith("table\n")
    assert [each.name for each in made_of] == [
        "model.lr=0.1/trainer.max_epochs=1",
        "model.lr=0.2/trainer.max_epochs=1",
    ]
    words = made_of[0].flags.words("/base", seed=0)
    assert words == [
        *("--experiment", "configs/train.yaml", "model.lr=0.1", "trainer.max_epochs=1"),
        *("--seed", "1", "--cpu"),
    ]
    assert made_of[0].flags.data == str(project / "data")
    assert "configs/model/bars.yaml" in made_of[0].flags.configurations()


def test_what_changes_nothing_is_no_hyperparameter_and_variables_are_set(
    project: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OF_THE_JOB", raising=False)
    words = ("trainer.max_epochs=1", "test=false", "~callbacks")
    train(*words, "extras.print_config=false", "+hydra.job.env_set.OF_THE_JOB=3")
    assert json.loads((project / "results/trials/single/config.json").read_text()) == {}
    assert os.environ.pop("OF_THE_JOB") == "3"
    assert "done already" in train(*words)


CALLBACKS = """
model_checkpoint:
  _target_: lightning.pytorch.callbacks.ModelCheckpoint
  dirpath: ${paths.output_dir}/checkpoints
  filename: "epoch_{epoch:03d}"
  monitor: val/acc
  mode: max
  save_last: true
  auto_insert_metric_name: false
model_summary:
  _target_: lightning.pytorch.callbacks.RichModelSummary
  max_depth: -1
rich_progress_bar:
  _target_: lightning.pytorch.callbacks.RichProgressBar
"""
DEBUG = """
# @package _global_
task_name: debug
callbacks: null
logger: null
trainer: {fast_dev_run: true, detect_anomaly: true}
"""


def test_the_callbacks_and_the_quick_run_of_a_template_work(project: Path, train: Train) -> None:
    (project / "configs" / "callbacks" / "template.yaml").write_text(CALLBACKS)
    (project / "configs" / "debug" / "fdr.yaml").write_text(DEBUG.lstrip())
    train("callbacks=template", "trainer.max_epochs=2")
    assert (project / "results" / "checkpoints" / "last.ckpt").is_file()
    printed = train("debug=fdr", "--result", "quick")
    assert (
        "trainer.fast_dev_run=true is read as trainer.max_epochs=1, trainer.limit_train_batches=1" in printed
    )
    assert "epoch 1/1" in printed and (project / "quick" / "test_result.json").is_file()
