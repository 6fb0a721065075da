"""The stage that predicts: done once for the same facts, checked first, and nothing left of other facts."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Project
from test_sequence_runs import DEFINITION, sequences, write

from helixband.errors import StorageError
from helixband.files import read_document, write_document
from helixband.results.digests import content_digest

OF_INTERVALS = (
    DEFINITION
    + """

from batch_generator import IntervalBatchGenerator


def peaks(data_dir, **options):
    return IntervalBatchGenerator(f"{data_dir}/genome.fa", f"{data_dir}/peaks.bed", negatives=1, **options)


def get_train_generator(data_dir, batch_size):
    return peaks(data_dir, batch_size=batch_size, shuffle=True)


def get_val_generator(data_dir):
    return peaks(data_dir)
"""
)
OF_PROTEINS = (
    DEFINITION
    + """

from helixband.sequence.alphabet import PROTEIN


def read(data_dir, name, **options):
    options["alphabet"] = PROTEIN
    return FastaBatchGenerator(f"{data_dir}/{name}.fa", f"{data_dir}/{name}.target", **options)


class Model(Model):
    def init_model(self):
        network = nn.Sequential(
            OneHot(PROTEIN), nn.Conv1d(20, 4, 3), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(4, 2)
        )
        BaseModel.init_model(self, network, nn.CrossEntropyLoss(), optim.Adam(network.parameters()))
"""
).replace("import ClassificationModel", "import BaseModel, ClassificationModel")
IN_BUCKETS = DEFINITION.replace('.target", **options', '.target", unequal="bucket", **options')
OF_OWN = (
    DEFINITION
    + """

def get_pred_generator(pred_path):
    return FastaBatchGenerator(pred_path, window=40, incomplete="pad")
"""
)
SAVING = """

def save_prediction(pred_path, y_pred):
    pass
"""
OF_NO_SEQUENCES = """

def get_pred_generator(pred_path):
    from batch_generator import MatrixBatchGenerator

    return MatrixBatchGenerator(read(os.path.dirname(pred_path), "train").codes(np.arange(5)))


import os

import numpy as np
"""


@pytest.fixture
def untrained(project: Project) -> Project:
    """Sequences to train on, others to predict on, and a genome with peaks."""
    write(project.data / "train", sequences(60, seed=1))
    write(project.data / "test", sequences(20, seed=2))
    (project.data / "new.fa").write_text(">long\n" + "AACGT" * 20 + "\n>short\nGGGGGGCC\n")
    (project.data / "genome.fa").write_text(genome(seed=3))
    (project.data / "peaks.bed").write_text("".join(f"chr1\t{n}\t{n + 40}\n" for n in range(0, 1000, 100)))
    (project.data / "new.bed").write_text("chr1\t20\t60\nchr1\t500\t540\n")
    (project.data / "elsewhere.bed").write_text("chr9\t20\t60\n")
    (project.data / "protein.fa").write_text(">p\nMKLVWWEE\n")
    (project.data / "same.tsv").write_text("long\tA\nshort\tA\n")
    project.definition.write_text(DEFINITION)
    return project


@pytest.fixture
def trained(untrained: Project) -> Project:
    assert untrained.run("--epoch", "1").code == 0
    return untrained


def genome(seed: int) -> str:
    return f">chr1\n{sequences(1, seed, length=4000)[0]}\n"


def outputs(project: Project) -> list[str]:
    return [path.name for path in project.predictions()]


def scores(project: Project, name: str) -> list[float]:
    found: list[float] = np.load(project.results / f"predictions/{name}.npy").tolist()
    return found


def fail(*_: Any) -> None:
    """As a process that is killed there, nothing being put in order after it."""
    raise StorageError("killed")


# What was predicted is predicted again where it would be other.


def test_another_input_of_the_same_size_and_time_is_predicted(trained: Project) -> None:
    new, other = trained.data / "new.fa", trained.data / "other.fa"
    trained.run("--predict", "new.fa")
    before = scores(trained, "new.fa")
    other.write_text(new.read_text().replace("AACGT", "GTTTT"))
    os.utime(other, ns=(new.stat().st_atime_ns, new.stat().st_mtime_ns))
    other.rename(new)

    assert "is done already" not in trained.run("--predict", "new.fa").out

    assert scores(trained, "new.fa") != before


def test_intervals_are_predicted_again_when_their_genome_changed(untrained: Project) -> None:
    untrained.definition.write_text(OF_INTERVALS)
    assert untrained.run("--epoch", "1", "--predict", "new.bed").code == 0
    before = scores(untrained, "new.bed")
    assert "new.bed is done already" in untrained.run("--predict", "new.bed").out
    (untrained.data / "genome.fa").write_text(genome(seed=4))

    assert "is done already" not in untrained.run("--predict", "new.bed").out

    assert scores(untrained, "new.bed") != before


# Nothing is left of predictions that came to no end.


def test_what_a_killed_run_wrote_is_removed_by_one_with_other_flags(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pybigtools")
    with monkeypatch.context() as patched:
        patched.setattr("helixband.outputs.bigwig.write_bigwigs", fail)
        assert trained.run("--predict", "new.fa", "--format", "npy", "bw").code == 1
    assert outputs(trained) == ["new.fa.npy", "new.fa.part"]

    assert trained.run("--predict", "new.fa", "--both-strands", "--format", "tsv").code == 0

    assert outputs(trained) == ["new.fa.tsv"]


def test_what_a_killed_run_wrote_over_is_not_taken_for_what_was_there(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained.run("--predict", "new.fa")
    before = scores(trained, "new.fa")
    with monkeypatch.context() as patched:
        patched.setattr("helixband.outputs.table.write_table", fail)
        assert trained.run("--predict", "new.fa", "--both-strands").code == 1
    assert scores(trained, "new.fa") != before
    assert not (trained.results / "predictions/new.fa.tsv").exists()

    assert "is done already" not in trained.run("--predict", "new.fa").out

    assert scores(trained, "new.fa") == before


def test_a_further_format_that_came_to_no_end_harms_no_other(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained.run("--predict", "new.fa", "--format", "npy")
    with monkeypatch.context() as patched:
        patched.setattr("helixband.outputs.arrays.write_h5", fail)
        assert trained.run("--predict", "new.fa", "--format", "tsv", "h5").code == 1
    assert "is done already" in trained.run("--predict", "new.fa", "--format", "npy").out

    assert trained.run("--predict", "new.fa", "--format", "h5").code == 0

    assert outputs(trained) == ["new.fa.h5", "new.fa.npy"]


def test_nothing_is_left_of_a_whole_prediction_that_was_killed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("helixband.outputs.whole.write_whole", fail)
        assert project.run("--epoch", "1", "--predict", "x.fa", "--mc-dropout", "2").code == 1
    assert outputs(project) == ["x.fa.npy", "x.fa.std.npy"]

    assert project.run("--predict", "x.fa").code == 0

    assert outputs(project) == ["x.fa.npy", "x.fa.tsv"]


def test_an_old_prediction_stays_until_the_new_one_is_complete(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained.run("--predict", "new.fa")
    before = scores(trained, "new.fa")
    with monkeypatch.context() as patched:
        patched.setattr("helixband.outputs.parts.Parts.append", fail)
        assert trained.run("--predict", "new.fa", "--stride", "7").code == 1
    assert outputs(trained) == ["new.fa.npy", "new.fa.tsv"]
    assert scores(trained, "new.fa") == before


# What is checked before any work.


@pytest.mark.parametrize(
    ("definition", "flags", "code", "message"),
    [
        (DEFINITION, ["new.bed"], 1, "new.bed: the model was trained on FASTA files"),
        (DEFINITION, ["protein.fa"], 1, "'L' is not in the alphabet 'ACGT'"),
        (DEFINITION, ["new.fa", "protein.fa"], 1, "'L' is not in the alphabet 'ACGT'"),
        (DEFINITION, ["new.fa", "--chromosomes", "chrX"], 1, "--chromosomes chrX"),
        (DEFINITION, ["new.fa", "--names", "SAME"], 1, "would both be called 'A' in the outputs; give each"),
        (OF_OWN, ["new.fa", "--chromosomes", "chrX"], 1, "--chromosomes chrX"),
        (OF_OWN, ["new.fa", "--names", "SAME"], 1, "'long' and 'short' would both be called 'A'"),
        (OF_OWN, ["new.fa", "test.fa", "--chromosomes", "long"], 1, "test.fa has no such name"),
        (IN_BUCKETS, ["new.fa", "--stride", "5"], 1, "give no stride"),
        (OF_INTERVALS, ["new.bed", "--stride", "5"], 1, "new.bed: the stride 5 is for FASTA files"),
        (OF_INTERVALS, ["elsewhere.bed"], 1, "chr9"),
        (OF_PROTEINS, ["protein.fa", "--both-strands"], 1, "has no complement"),
        (DEFINITION + SAVING, ["new.fa", "--format", "h5"], 2, "--format is for the files"),
        (DEFINITION + SAVING, ["new.fa", "--names", "ucsc"], 2, "--names is for the files"),
    ],
)
def test_what_cannot_be_predicted_is_told_before_training(
    untrained: Project, definition: str, flags: list[str], code: int, message: str
) -> None:
    untrained.definition.write_text(definition)
    flags = [str(untrained.data / "same.tsv") if flag == "SAME" else flag for flag in flags]

    dry = untrained.run("--epoch", "1", "--predict", *flags, "--dry-run")
    done = untrained.run("--epoch", "1", "--predict", *flags)

    assert (done.code, message in done.err) == (code, True), done.err
    assert not (untrained.results / "trials").exists()
    assert (dry.code, dry.err) == (done.code, done.err)


def test_all_inputs_that_cannot_be_predicted_are_told_at_once(untrained: Project) -> None:
    failed = untrained.run("--epoch", "1", "--predict", "new.fa", "new.bed", "protein.fa")
    told = failed.err.splitlines()
    assert "2 faults were found before any work" in told[0]
    assert "new.bed: the model was trained on FASTA files" in told[1]
    assert "protein.fa, record 'p'" in told[2]


def test_inputs_are_checked_without_a_batch_where_the_data_are_not_to_be_tried(untrained: Project) -> None:
    flags = ["--epoch", "1", "--no-data-check", "--predict", "new.fa"]
    failed = untrained.run(*flags, "protein.fa", "--dry-run")
    assert failed.code == 1 and "protein.fa, record 'p'" in failed.err
    checked = untrained.run(*flags, "--dry-run")
    assert checked.out.splitlines()[-1] == (
        "dry run: everything was checked, but that no batch was tried (--no-data-check), and nothing done"
    )


def test_what_a_function_saved_is_not_said_to_be_there(untrained: Project) -> None:
    untrained.definition.write_text(DEFINITION + SAVING)
    untrained.run("--epoch", "1", "--predict", "new.fa")
    again = untrained.run("--predict", "new.fa")
    record = untrained.results / "predictions/new.fa.record.json"
    assert f"by save_prediction of the definition; delete {record} to have it done again\n" in again.out
    record.unlink()
    assert "is done already" not in untrained.run("--predict", "new.fa").out


def test_a_number_for_names_is_taken_where_a_function_saves_the_predictions(untrained: Project) -> None:
    (untrained.data / "twice.fa").write_text(">a\nACGT\n>a\nGGGG\n")
    untrained.definition.write_text(DEFINITION + SAVING)
    done = untrained.run("--epoch", "1", "--predict", "twice.fa", "--names", "number")
    assert (done.code, done.err) == (0, "")


def test_a_generator_of_ones_own_is_called_before_training_unless_the_data_are_not_to_be_checked(
    untrained: Project,
) -> None:
    untrained.definition.write_text(
        DEFINITION + "\n\ndef get_pred_generator(pred_path):\n    raise ValueError('too early')\n"
    )
    failed = untrained.run("--epoch", "1", "--predict", "new.fa")
    assert (failed.code, failed.err.splitlines()[-1]) == (1, "ValueError: too early")
    assert not (untrained.results / "trials").exists()

    assert untrained.run("--epoch", "1", "--predict", "new.fa", "--no-data-check").code == 1
    assert (untrained.results / "trials/single/checkpoints/best.pt").exists()


def test_a_flag_for_windows_is_not_blamed_on_a_function_that_is_not_there(untrained: Project) -> None:
    untrained.definition.write_text(DEFINITION + OF_NO_SEQUENCES)

    done = untrained.run("--epoch", "1", "--predict", "new.fa", "--format", "h5")

    assert done.code == 2
    assert "have get_pred_generator in" in done.err
    assert "save_prediction" not in done.err


# Whole records.


def test_whole_records_are_told_as_such(untrained: Project) -> None:
    untrained.definition.write_text(IN_BUCKETS)

    done = untrained.run("--epoch", "1", "--predict", "new.fa")

    assert done.code == 0
    assert "predict: 2 records of up to 100 bases of new.fa" in done.out
    assert [line.split("\t")[:3] for line in untrained.read("predictions/new.fa.tsv").splitlines()[1:]] == [
        ["long", "0", "100"],
        ["short", "0", "8"],
    ]


def test_a_record_of_the_test_set_that_is_too_short_for_the_network_is_told_before_training(
    untrained: Project,
) -> None:
    untrained.definition.write_text(IN_BUCKETS)
    with open(untrained.data / "test.fa", "a") as fasta, open(untrained.data / "test.target", "a") as targets:
        fasta.write(">short\nAC\n")
        targets.write("0\n")

    failed = untrained.run("--epoch", "1", "--eval")

    assert failed.code == 1
    assert "Kernel size can't be greater than actual input size" in failed.err
    assert "with the validation data, of which a batch was tried before any work" in failed.err
    assert not (untrained.results / "trials").exists()


# Two inputs do not write one file.


def test_the_spread_of_an_input_and_another_input_are_told_before_any_work(project: Project) -> None:
    for name in ("y", "y.std"):
        (project.data / name).write_text(">a\nACGT\n")
    refused = project.run("--epoch", "1", "--mc-dropout", "2", "--predict", "y", "y.std")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(
        f"error: --predict: the standard deviation of {project.data}/y and the prediction of "
        f"{project.data}/y.std would both be named y.std; rename one of them"
    )
    assert project.run("--epoch", "1", "--predict", "y", "y.std").code == 0


def test_an_input_in_the_folder_of_another_under_way_is_told_before_any_work(project: Project) -> None:
    (project.data / "y.part").mkdir()
    for name in ("y", "y.part/z"):
        (project.data / name).write_text(">a\nACGT\n")
    refused = project.run("--epoch", "1", "--predict", "y", "y.part/z")
    assert (refused.code, refused.out) == (2, "")
    assert f"{project.data}/y.part/z would be written to y.part" in refused.err


def test_an_output_that_another_input_has_is_not_replaced(project: Project) -> None:
    for name in ("y", "y.std"):
        (project.data / name).write_text("".join(f">{n}\n{'ACG' * n}\n" for n in range(1, 9)))
    project.run("--epoch", "1", "--predict", "y.std")
    before = scores(project, "y.std")

    refused = project.run("--mc-dropout", "9", "--predict", "y")

    assert refused.code == 2
    assert refused.err.startswith(
        "error: --predict y: predictions/y.std.npy is there already, for the input y.std; rename one"
    )
    assert scores(project, "y.std") == before


def test_parts_of_one_name_are_told_before_anything_is_written(project: Project) -> None:
    project.define(
        "\nclass Model(Model):\n    def predict(self, data):\n"
        "        return {'a': {'b': np.ones(2)}, 'a.b': np.zeros(2)}\n"
    )
    refused = project.run("--epoch", "1", "--predict", "x.fa")
    assert refused.code == 2
    assert "y_pred has two parts that would both be named 'a.b'; rename one" in refused.err
    assert not (project.results / "predictions").exists()


def moved(project: Project, name: str) -> Path:
    """The data of a project, copied elsewhere: other inodes, and other times."""
    place = Path(shutil.copytree(project.data, project.path / name))
    for path in place.iterdir():
        os.utime(path, (1000, 1000))
    return place


def test_an_input_is_known_by_its_content_wherever_it_is(trained: Project) -> None:
    assert trained.run("--predict", "new.fa").code == 0
    place = moved(trained, "node1")
    shutil.rmtree(trained.data)
    run = trained.run("--data", str(place), "--predict", "new.fa")
    assert (run.code, "new.fa is done already" in run.out) == (0, True)
    other = Path(shutil.copytree(place, trained.path / "node2"))  # while the place before is still there
    run = trained.run("--data", str(other), "--predict", "new.fa")
    assert (run.code, "new.fa is done already" in run.out) == (0, True)


def test_an_input_of_other_content_is_predicted_again_whatever_its_times(trained: Project) -> None:
    assert trained.run("--predict", "new.fa").code == 0
    path = trained.data / "new.fa"
    before, text = path.stat(), path.read_text()
    path.write_text(text.replace("A", "C", 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "is done already" not in trained.run("--predict", "new.fa").out


def test_the_digest_of_an_input_is_not_computed_again_where_its_file_is_the_same(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trained.run("--predict", "new.fa").code == 0
    monkeypatch.setattr("helixband.run.prediction.content_digest", None)
    assert "new.fa is done already" in trained.run("--predict", "new.fa").out


def test_a_record_of_an_earlier_version_which_had_the_place_still_counts(trained: Project) -> None:
    assert trained.run("--predict", "new.fa").code == 0
    path = trained.results / "predictions" / "new.fa.record.json"
    record = read_document(path)
    del record["facts"]["content"]
    record["facts"] |= record.pop("seen")
    write_document(path, record)
    assert "new.fa is done already" in trained.run("--predict", "new.fa").out
    os.utime(trained.data / "new.fa")
    assert "is done already" not in trained.run("--predict", "new.fa").out


def test_a_folder_is_an_input_of_its_files(tmp_path: Path) -> None:
    for name in "xy":
        (tmp_path / name / "a").mkdir(parents=True)
        (tmp_path / name / "a" / "b").write_text("1")
    assert content_digest(tmp_path / "x") == content_digest(tmp_path / "y")
    (tmp_path / "y" / "a" / "b").rename(tmp_path / "y" / "a" / "c")
    assert content_digest(tmp_path / "x") != content_digest(tmp_path / "y")


CROPPED = """

class Cropped(FastaBatchGenerator):
    def __iter__(self):
        for batch in super().__iter__():
            yield (batch[0][:, 10:30], batch[1]) if self.labelled else batch[:, 10:30]


def read(data_dir, name, **options):
    return Cropped(f"{data_dir}/{name}.fa", f"{data_dir}/{name}.target", **options)
"""
AROUND = """

class Around:
    def __init__(self, inner):
        self.inner = inner

    def __iter__(self):
        return ((x[:, 10:30], y) for x, y in self.inner)


def get_train_generator(data_dir, batch_size):
    return Around(read(data_dir, "train", batch_size=batch_size, shuffle=True))
"""
COLLATED = """

from torch.utils.data import DataLoader, default_collate
from helixband.generators.datasets import SequenceDataset


def cropped(examples):
    x, y = default_collate(examples)
    return x[:, 10:30], y


def get_train_generator(data_dir, batch_size):
    return DataLoader(SequenceDataset(read(data_dir, "train")), batch_size, collate_fn=cropped)
"""
MIXED = """

from batch_generator import MixedBatchGenerator


def get_train_generator(data_dir, batch_size):
    parts = FastaBatchGenerator(f"{data_dir}/train.fa", f"{data_dir}/train.target"), read(data_dir, "train")
    return MixedBatchGenerator(parts, [0.5, 0.5], batch_size)
"""


@pytest.mark.parametrize(
    ("around", "kind"),
    [
        (CROPPED, "Cropped"),
        (AROUND, "Around"),
        (COLLATED, "DataLoader"),
        (CROPPED + MIXED, "MixedBatchGenerator"),
    ],
)
def test_x_that_code_of_the_definition_makes_needs_a_generator_for_prediction(
    untrained: Project, around: str, kind: str
) -> None:
    untrained.definition.write_text(DEFINITION + around)
    done = untrained.run("--epoch", "1", "--predict", "new.fa")
    assert done.code == 2
    assert "get_pred_generator(pred_path) is missing; --predict needs it" in done.err
    assert f"whose x no other code changes; it returned a {kind}" in done.err


@pytest.mark.parametrize(
    "made",
    [
        "MixedBatchGenerator([read(data_dir, 'train'), read(data_dir, 'train')], [0.5, 0.5], batch_size)",
        "DataLoader(SequenceDataset(read(data_dir, 'train')), batch_size)",
        "DataLoader(Subset(SequenceDataset(read(data_dir, 'train')), range(40)), batch_size)",
        "DataLoader(SequenceStream(read(data_dir, 'train', batch_size=9)), batch_size=None)",
        "Named(f'{data_dir}/train.fa', f'{data_dir}/train.target').split('ratio', 0.2, 0.2)[0]",
    ],
)
def test_sequences_that_nothing_changes_on_their_way_need_none(untrained: Project, made: str) -> None:
    untrained.definition.write_text(
        DEFINITION + "from torch.utils.data import DataLoader, Subset\n"
        "from batch_generator import MixedBatchGenerator\n"
        "from helixband.generators.datasets import SequenceDataset, SequenceStream\n\n\n"
        "class Named(FastaBatchGenerator):\n"
        "    def __repr__(self):\n        return 'sequences'\n\n\n"
        f"def get_train_generator(data_dir, batch_size):\n    return {made}\n"
    )
    assert untrained.run("--epoch", "1", "--predict", "new.fa").code == 0
    assert np.load(untrained.results / "predictions" / "new.fa.npy").shape == (4,)


@pytest.mark.parametrize("method", ["__iter__", "batches", "_batches"])
def test_a_derived_class_that_reads_otherwise_is_iterated_over(untrained: Project, method: str) -> None:
    arguments = {"__iter__": "", "batches": "seed, epoch, start=0", "_batches": "seed, epoch, start"}[method]
    half = "(batch[0][:, :20], batch[1])" if method == "_batches" else "batch[:, :20]"
    texts = sequences(7, seed=4)
    for name, records in (("whole", texts), ("half", [text[:20] for text in texts])):
        write(untrained.data / name, records)
    untrained.definition.write_text(
        DEFINITION + "\n\nclass Half(FastaBatchGenerator):\n"
        f"    def {method}(self, {arguments}):\n"
        f"        for batch in super().{method}({arguments.replace('start=0', 'start')}):\n"
        f"            yield {half}\n\n\n"
        "def get_pred_generator(pred_path):\n"
        "    return (Half if 'whole' in pred_path else FastaBatchGenerator)(pred_path)\n"
    )
    assert untrained.run("--epoch", "1", "--predict", "whole.fa", "half.fa").code == 0
    made = untrained.results / "predictions"
    assert np.array_equal(np.load(made / "whole.fa.npy"), np.load(made / "half.fa.npy"))
