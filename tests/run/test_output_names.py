"""--names and --chromosomes: what records are called in outputs, and which of them are predicted."""

import numpy as np
import pytest
from conftest import Project
from test_sequence_runs import DEFINITION, sequences, write

from helixband.errors import DataError
from helixband.sequence.chromosomes import output_names


@pytest.fixture
def trained(project: Project) -> Project:
    write(project.data / "train", sequences(60, seed=1))
    write(project.data / "test", sequences(20, seed=2))
    bases = sequences(1, 3, length=80)[0]
    (project.data / "g.fa").write_text(f">1\n{bases}\n>MT\n{bases[:40]}\n>scaffold_7\n{bases[:40]}\n")
    (project.data / "twice.fa").write_text(f">1\n{bases}\n>1\n{bases[:40]}\n")
    project.definition.write_text(DEFINITION)
    assert project.run("--epoch", "1").code == 0
    return project


def names(project: Project, name: str) -> list[str]:
    rows = project.read(f"predictions/{name}.tsv").splitlines()[1:]
    return list(dict.fromkeys(row.split("\t")[0] for row in rows))


def test_names_of_ucsc_are_written_and_what_stays_is_told(trained: Project) -> None:
    done = trained.run("--predict", "g.fa", "--names", "ucsc")
    assert done.code == 0
    assert names(trained, "g.fa") == ["chr1", "chrM", "scaffold_7"]
    assert "note: --names ucsc leaves 1 names as they are: scaffold_7" in done.out


def test_other_names_are_another_prediction(trained: Project) -> None:
    trained.run("--predict", "g.fa")
    assert names(trained, "g.fa") == ["1", "MT", "scaffold_7"]
    (trained.path / "names.tsv").write_text("1\tone\n")
    table = str(trained.path / "names.tsv")
    assert "is done already" not in trained.run("--predict", "g.fa", "--names", table).out
    assert names(trained, "g.fa") == ["one", "MT", "scaffold_7"]
    assert "is done already" in trained.run("--predict", "g.fa", "--names", table).out


def test_a_track_has_the_names_that_are_asked_for(trained: Project) -> None:
    pybigtools = pytest.importorskip("pybigtools")
    assert trained.run("--predict", "g.fa", "--format", "bw", "--names", "ucsc").code == 0
    with pybigtools.open(str(trained.results / "predictions/g.fa.bw")) as track:
        assert set(track.chroms()) == {"chr1", "chrM", "scaffold_7"}


def test_a_file_that_repeats_names_is_numbered_on_request(trained: Project) -> None:
    refused = trained.run("--predict", "twice.fa")
    assert refused.code == 1 and "--names number" in refused.err
    assert trained.run("--predict", "twice.fa", "--names", "number").code == 0
    assert names(trained, "twice.fa") == ["twice.fa:1", "twice.fa:2"]


def test_only_the_chromosomes_that_are_named_are_predicted(trained: Project) -> None:
    trained.run("--predict", "g.fa")
    whole = np.load(trained.results / "predictions/g.fa.npy")
    assert trained.run("--predict", "g.fa", "--chromosomes", "1,scaffold_7").code == 0
    assert names(trained, "g.fa") == ["1", "scaffold_7"]
    some = np.load(trained.results / "predictions/g.fa.npy")
    assert np.allclose(some, np.delete(whole, np.s_[2:3], axis=0)) and len(some) == 3


def test_a_chromosome_that_is_not_there_is_told_before_any_work(trained: Project) -> None:
    trained.clear()
    refused = trained.run("--epoch", "1", "--predict", "g.fa", "--chromosomes", "1,scaffold_8")
    assert refused.code == 1
    assert "--chromosomes scaffold_8" in refused.err and "it has scaffold_7" in refused.err
    assert not (trained.results / "trials").exists()


def test_a_definition_that_reads_its_inputs_gets_a_table_whatever_the_names(project: Project) -> None:
    (project.data / "x.fa").write_text(">1\nACGT\n>1\nAACCG\n")
    project.define(
        "\n\ndef get_pred_generator(pred_path):\n"
        "    return MatrixBatchGenerator(np.ones((2, 3), np.float32))\n"
    )
    done = project.run("--epoch", "1", "--predict", "x.fa")
    assert done.code == 0
    assert names(project, "x.fa") == ["x.fa:1", "x.fa:2"]
    assert "note: the records are numbered in" in done.out
    assert "note: the records" not in project.run("--predict", "x.fa", "--names", "number").out


OF_ARRAYS = """

def get_pred_generator(pred_path):
    return MatrixBatchGenerator(np.ones((2, 3), np.float32))
"""
PROFILES = """

class Model(Model):
    def init_model(self):
        network = nn.Sequential(nn.Linear(3, 12), nn.Unflatten(1, (3, 4)))
        BaseModel.init_model(self, network, profile_loss, optim.Adam(network.parameters()))


def profile_loss(y_pred, y_true):
    return ((y_pred.mean((1, 2)) - y_true) ** 2).mean()
"""


@pytest.mark.parametrize(
    ("extra", "path", "names", "told"),
    [
        ("", "x.npy", "ucsc", "--names ucsc: {data}/x.npy is no FASTA file"),
        ("", "x.fa", "same.tsv", "'one' and 'two' would both be called 'A'"),
        (PROFILES, "x.fa", "ucsc", "--names ucsc: a prediction is no number or row of numbers"),
    ],
)
def test_names_that_cannot_be_written_are_refused_before_any_work(
    project: Project, monkeypatch: pytest.MonkeyPatch, extra: str, path: str, names: str, told: str
) -> None:
    monkeypatch.chdir(project.data)
    np.save("x.npy", np.ones(2))
    (project.data / "same.tsv").write_text("one\tA\ntwo\tA\n")
    project.define(OF_ARRAYS + extra)
    refused = project.run("--epoch", "1", "--predict", path, "--names", names)
    assert refused.code and told.format(data=project.data) in refused.err
    assert not (project.results / "trials").exists()


def test_names_without_a_record_for_each_prediction_are_told(project: Project) -> None:
    project.define(OF_ARRAYS)
    done = project.run("--epoch", "1", "--predict", "x.fa", "--names", "ucsc")
    assert "note: --names ucsc had no effect" in done.out and "3 records and 2 predictions" in done.out


@pytest.mark.parametrize(
    ("given", "scheme", "made"),
    [
        (["1", "22", "X", "MT"], "ucsc", ["chr1", "chr22", "chrX", "chrM"]),
        (["chr1", "chr22", "chrX", "chrM"], "ensembl", ["1", "22", "X", "MT"]),
        (["I", "XVI", "Mito"], "ucsc", ["chrI", "chrXVI", "chrM"]),
        (["2L", "3R", "KI270728.1", "chrUn_1"], "ucsc", ["chr2L", "chr3R", "KI270728.1", "chrUn_1"]),
        (["chr1", "1"], "nothing", ["chr1", "1"]),
    ],
)
def test_names_go_both_ways(given: list[str], scheme: str, made: list[str]) -> None:
    renamed = {} if scheme == "nothing" else output_names(given, scheme)
    assert [renamed.get(name, name) for name in given] == made


def test_two_records_do_not_get_one_name() -> None:
    with pytest.raises(DataError, match="'chr1' and '1' would both be called 'chr1' in the outputs"):
        output_names(["chr1", "1"], "ucsc")
