"""The command line on sequences: the check of the data, baselines, and prediction by windows."""

import signal
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import Project

OF_CLASSES = {"loss", "accuracy", "accuracy_class_0", "accuracy_class_1", "auroc", "auroc_median"}
BASES = "ACGT"
DEFINITION = """
import torch
from torch import nn, optim

from base_model import ClassificationModel
from batch_generator import FastaBatchGenerator
from helixband.networks.one_hot import OneHot


def read(data_dir, name, **options):
    return FastaBatchGenerator(f"{data_dir}/{name}.fa", f"{data_dir}/{name}.target", **options)


def get_train_generator(data_dir, batch_size):
    return read(data_dir, "train", batch_size=batch_size, shuffle=True)


def get_val_generator(data_dir):
    return read(data_dir, "test")


def get_test_generator(data_dir):
    return read(data_dir, "test")


def get_config():
    return {"lr": 0.01}


class Model(ClassificationModel):
    def init_model(self):
        network = nn.Sequential(
            OneHot(), nn.Conv1d(4, 4, 3), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(4, 2)
        )
        optimizer = optim.Adam(network.parameters(), self.config["lr"])
        super().init_model(network, nn.CrossEntropyLoss(), optimizer)
"""


def sequences(n: int, seed: int, length: int = 40) -> list[str]:
    """Random sequences, of which every other one is made to hold GGGGGG."""
    rng = np.random.default_rng(seed)
    made = ["".join(row) for row in rng.choice(list(BASES), (n, length))]
    return [text[:10] + "GGGGGG" + text[16:] if number % 2 else text for number, text in enumerate(made)]


def write(path: Path, texts: list[str]) -> None:
    path.with_suffix(".fa").write_text("".join(f">{path.stem}{i}\n{text}\n" for i, text in enumerate(texts)))
    path.with_suffix(".target").write_text("".join(f"{number % 2}\n" for number in range(len(texts))))


@pytest.fixture
def experiment(project: Project) -> Project:
    """A classification of sequences; 4 of the 20 test examples are training examples."""
    train = sequences(60, seed=1)
    write(project.data / "train", train)
    write(project.data / "test", train[:4] + sequences(16, seed=2))
    project.definition.write_text(DEFINITION)
    return project


# The check.


def test_the_check_says_what_the_test_set_shares_with_the_training_set(experiment: Project) -> None:
    done = experiment.run("--check")
    assert done.code == 0
    audit = experiment.json("audit.json")
    assert (audit["n_train"], audit["n_test"], audit["exact_duplicates"]) == (60, 20, 4)
    assert audit["similar_examples"] == [0, 1, 2, 3]
    assert "warning: 4 of 20 test examples (20.00%)" in done.out


def test_the_check_alone_trains_nothing_and_binds_the_directory_to_nothing(experiment: Project) -> None:
    experiment.run("--check")
    assert not (experiment.results / "trials").exists()
    write(experiment.data / "test", sequences(20, seed=3))
    experiment.definition.write_text(DEFINITION + "\n# mended\n")
    assert experiment.run("--check").code == 0
    assert experiment.json("audit.json")["exact_duplicates"] == 0


def test_a_check_and_a_training_are_both_done(experiment: Project) -> None:
    done = experiment.run("--check", "--train", "--epoch", "1")
    assert done.code == 0
    assert done.out.index("check: ") < done.out.index("training: best epoch 1 of 1")


def test_the_check_of_what_is_no_sequence_says_so(project: Project) -> None:
    done = project.run("--check")
    assert done.code == 1
    assert "--check reads DNA and RNA, as indexes or one-hot" in done.err


def test_after_a_check_the_evaluation_scores_the_unlike_examples_too(experiment: Project) -> None:
    done = experiment.run("--check", "--eval", "--epoch", "1")
    result = experiment.json("test_result.json")
    names = OF_CLASSES
    assert set(result) == names | {f"unlike_{name}" for name in (*names, "examples")}
    assert result["unlike_examples"] == 16
    assert "on the 16 examples unlike the training set: loss" in done.out


def test_the_unlike_examples_have_the_score_that_they_have_alone(experiment: Project) -> None:
    experiment.run("--check", "--eval", "--epoch", "1")
    unlike = experiment.json("test_result.json")["unlike_loss"]
    write(experiment.data / "test", sequences(16, seed=2))
    (experiment.results / "test_result.json").unlink()
    (experiment.results / "audit.json").unlink()
    experiment.run("--eval")
    assert experiment.json("test_result.json")["loss"] == pytest.approx(unlike, rel=1e-6)


def test_the_order_of_the_test_set_makes_no_difference(experiment: Project) -> None:
    experiment.run("--check", "--eval", "--epoch", "1")
    unlike = experiment.json("test_result.json")["unlike_loss"]
    text = (
        DEFINITION
        + """

def get_test_generator(data_dir):
    return read(data_dir, "test", shuffle=True, batch_size=3)
"""
    )
    experiment.definition.write_text(text)
    experiment.clear()
    experiment.run("--check", "--eval", "--epoch", "1")
    assert experiment.json("test_result.json")["unlike_loss"] == pytest.approx(unlike, rel=1e-5)


def test_a_check_of_other_test_data_is_not_used_and_that_is_said(experiment: Project) -> None:
    experiment.run("--check", "--eval", "--epoch", "1")
    write(experiment.data / "test", sequences(20, seed=9))
    (experiment.results / "test_result.json").unlink()
    done = experiment.run("--eval")
    assert f"note: {experiment.results / 'audit.json'} is of other test data" in done.out
    assert set(experiment.json("test_result.json")) == OF_CLASSES


ARRAYS = """

import numpy as np

from batch_generator import MatrixBatchGenerator


def get_test_generator(data_dir):
    windows = read(data_dir, "test")
    return MatrixBatchGenerator(windows.codes(np.arange(windows.n_examples)), windows.get_Y())
"""


@pytest.mark.parametrize("extra", ["", ARRAYS], ids=["sequences", "arrays"])
def test_a_check_knows_its_data_where_both_have_moved(
    experiment: Project, monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    experiment.definition.write_text(DEFINITION + extra)
    assert experiment.run("--check", "--epoch", "1", "--train").code == 0
    assert str(experiment.path) not in experiment.read("audit.json")
    moved = experiment.path / "elsewhere"
    moved.mkdir()
    for name in ("data", "results"):
        (experiment.path / name).rename(moved / name)
    experiment.data, experiment.results = moved / "data", moved / "results"
    done = experiment.run("--eval")
    assert "examples unlike the training set" in done.out


def test_a_check_of_another_definition_is_not_used(experiment: Project) -> None:
    experiment.run("--check")
    experiment.definition.write_text(DEFINITION + "\n# another\n")
    experiment.run("--eval", "--epoch", "1")
    assert set(experiment.json("test_result.json")) == OF_CLASSES


# Baselines.


def test_an_evaluation_shows_what_trivial_models_score(experiment: Project) -> None:
    done = experiment.run("--eval", "--epoch", "1")
    found = experiment.json("baselines.json")
    assert found["majority_accuracy"] == 0.5
    assert found["kmer_auroc"] > 0.9  # GGGGGG is one of them
    assert "  baselines: majority class accuracy 0.5, 6-mers auroc" in done.out
    assert "  baselines: majority class accuracy 0.5, 6-mers auroc" in experiment.run("--eval").out


def test_a_model_is_tested_where_its_training_data_are_gone(experiment: Project) -> None:
    experiment.run("--epoch", "1")
    (experiment.data / "train.fa").unlink()
    done = experiment.run("--eval")
    assert done.code == 0
    assert "baselines: none, for the training data cannot be read" in done.out


# Prediction.

RECORDS = {"long": "ACGT" * 25, "short": "GGGGGGCC"}


@pytest.fixture
def unlabelled(experiment: Project) -> Project:
    """The experiment, trained, and a file of a long and a short record."""
    text = "".join(f">{name} from somewhere\n{letters}\n" for name, letters in RECORDS.items())
    (experiment.data / "new.fa").write_text(text)
    assert experiment.run("--epoch", "1").code == 0
    return experiment


def rows(project: Project, name: str) -> list[list[str]]:
    return [line.split("\t") for line in project.read(f"predictions/{name}.tsv").splitlines()]


def test_records_are_predicted_in_windows_of_the_training_length(unlabelled: Project) -> None:
    assert unlabelled.run("--predict", "new.fa").code == 0
    head, *found = rows(unlabelled, "new.fa")
    assert head == ["name", "start", "end", "strand", "score"]
    assert [row[:4] for row in found] == [
        ["long", "0", "40", "+"],
        ["long", "40", "80", "+"],
        ["long", "80", "100", "+"],
        ["short", "0", "8", "+"],
    ]
    scores = np.load(unlabelled.results / "predictions/new.fa.npy")
    assert [float(row[4]) for row in found] == pytest.approx(scores.tolist(), rel=1e-5)


def test_a_stride_gives_overlapping_windows(unlabelled: Project) -> None:
    unlabelled.run("--predict", "new.fa", "--stride", "20")
    assert [row[1:3] for row in rows(unlabelled, "new.fa")[1:5]] == [
        ["0", "40"],
        ["20", "60"],
        ["40", "80"],
        ["60", "100"],
    ]


def test_both_strands_give_a_sequence_and_its_reverse_complement_one_score(unlabelled: Project) -> None:
    forward = sequences(1, seed=5)[0]
    reverse = forward[::-1].translate(str.maketrans("ACGT", "TGCA"))
    (unlabelled.data / "pair.fa").write_text(f">forward\n{forward}\n>reverse\n{reverse}\n")
    unlabelled.run("--predict", "pair.fa")
    one, other = np.load(unlabelled.results / "predictions/pair.fa.npy")
    assert one != pytest.approx(other)
    unlabelled.run("--predict", "pair.fa", "--both-strands")
    both = np.load(unlabelled.results / "predictions/pair.fa.npy")
    assert both.tolist() == pytest.approx([(one + other) / 2] * 2)
    assert [row[3] for row in rows(unlabelled, "pair.fa")[1:]] == [".", "."]


def test_the_formats_asked_for_are_written(unlabelled: Project) -> None:
    assert unlabelled.run("--predict", "new.fa", "--format", "h5", "tsv").code == 0
    assert [path.name for path in unlabelled.predictions()] == [
        "new.fa.h5",
        "new.fa.tsv",
    ]


def test_what_is_predicted_is_not_predicted_again_unless_flags_differ(unlabelled: Project) -> None:
    unlabelled.run("--predict", "new.fa")
    assert "is done already" in unlabelled.run("--predict", "new.fa").out
    assert "is done already" not in unlabelled.run("--predict", "new.fa", "--stride", "20").out


def test_a_further_format_is_added_and_outputs_of_other_windows_are_removed(unlabelled: Project) -> None:
    def outputs() -> set[str]:
        return {path.name for path in unlabelled.predictions()}

    unlabelled.run("--predict", "new.fa")
    unlabelled.run("--predict", "new.fa", "--format", "h5")
    assert outputs() == {"new.fa.npy", "new.fa.tsv", "new.fa.h5"}
    assert "is done already" in unlabelled.run("--predict", "new.fa", "--format", "npy").out
    unlabelled.run("--predict", "new.fa", "--format", "npy", "--stride", "20")
    assert outputs() == {"new.fa.npy"}


def test_a_definition_whose_data_are_no_sequences_needs_its_own_generator(project: Project) -> None:
    text = project.definition.read_text().replace("def get_pred_generator", "def get_pred_genes")
    project.definition.write_text(text)
    done = project.run("--train", "--predict", "x.fa")
    assert done.code == 2
    assert "get_pred_generator(pred_path) is missing" in done.err
    assert "did you mean get_pred_generator?" in done.err
    assert not (project.results / "trials").exists()


def test_a_stride_goes_with_no_generator_of_ones_own(project: Project) -> None:
    done = project.run("--train", "--predict", "x.fa", "--stride", "5")
    assert done.code == 2
    assert "--stride 5: the windows are those of get_pred_generator" in done.err


def test_both_strands_go_with_windows_alone(project: Project) -> None:
    done = project.run("--predict", "x.fa", "--both-strands", "--epoch", "1")
    assert done.code == 2
    assert "--both-strands is for windows of sequences" in done.err


def test_a_bed_of_a_model_without_a_genome_is_refused_with_the_remedy(unlabelled: Project) -> None:
    (unlabelled.data / "new.bed").write_text("long\t0\t40\n")
    done = unlabelled.run("--predict", "new.bed")
    assert done.code == 1
    assert "IntervalBatchGenerator, which knows their genome" in done.err


def test_a_prediction_that_is_killed_goes_on_and_ends_the_same(unlabelled: Project) -> None:
    rng = np.random.default_rng(0)
    genome = "".join(rng.choice(list(BASES), 120_000))
    (unlabelled.data / "genome.fa").write_text(f">chr1\n{genome}\n")
    flags = ["--predict", "genome.fa", "--stride", "1", "--both-strands"]
    part = unlabelled.results / "predictions/genome.fa.part"
    with unlabelled.start(*flags) as process:
        while not (part / "facts.json").exists() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert part.exists()
    assert unlabelled.run(*flags).code == 0
    outputs = {path.name: path.read_bytes() for path in unlabelled.predictions()}
    assert set(outputs) == {"genome.fa.npy", "genome.fa.tsv"}
    for name in outputs:
        (unlabelled.results / "predictions" / name).unlink()
    assert unlabelled.run(*flags).code == 0
    for name, content in outputs.items():
        assert (unlabelled.results / "predictions" / name).read_bytes() == content
