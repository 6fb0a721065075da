"""The share of a genome that the windows of a training have had: exact, and without reading them."""

import csv
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Project
from numpy.typing import NDArray

from batch_generator import FastaBatchGenerator, IntervalBatchGenerator, MatrixBatchGenerator
from helixband.generators.sequences import SequenceBatchGenerator
from helixband.sequence.augmentation import Augmentation

LENGTHS = {"c1": 97, "c2": 60, "c3": 8}


@pytest.fixture
def genome(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    records = {name: "".join(rng.choice(list("ACGT"), length)) for name, length in LENGTHS.items()}
    (tmp_path / "g.fa").write_text("".join(f">{name}\n{text}\n" for name, text in records.items()))
    peaks = [("c1", 0, 12, "-"), ("c1", 4, 12, "+"), ("c1", 88, 97, "+"), ("c2", 20, 30, "-")]
    (tmp_path / "p.bed").write_text("".join(f"{c}\t{s}\t{e}\tx\t0\t{o}\n" for c, s, e, o in peaks))
    return tmp_path


def fasta(folder: Path, **options: Any) -> SequenceBatchGenerator:
    return FastaBatchGenerator(f"{folder}/g.fa", window=10, metadata=True, **options)


def peaks(folder: Path, **options: Any) -> SequenceBatchGenerator:
    return IntervalBatchGenerator(f"{folder}/g.fa", f"{folder}/p.bed", window=10, metadata=True, **options)


MOVED: dict[str, Any] = {
    "batch_size": 2,
    "shuffle": True,
    "reverse_complement": True,
    "augmentation": Augmentation(shift=0.5, max_shift=2),
}
GENERATORS: dict[str, Callable[[Path], SequenceBatchGenerator]] = {
    "windows": lambda folder: fasta(folder, batch_size=3),
    "padded": lambda folder: fasta(folder, batch_size=3, incomplete="pad", stride=7),
    "offsets": lambda folder: fasta(folder, random_offsets=True, stride=17, **MOVED),
    "offsets of a part": lambda folder: fasta(folder, random_offsets=True, **MOVED).part(np.arange(9)),
    "last left out": lambda folder: fasta(folder, batch_size=4, shuffle=True, drop_last=True),
    "peaks": lambda folder: peaks(folder, batch_size=3),
    "jitter": lambda folder: peaks(folder, jitter=4, **MOVED),
    "jitter, without incomplete": lambda folder: peaks(folder, jitter=2, incomplete="drop", **MOVED),
    "negatives": lambda folder: peaks(folder, negatives=2, jitter=1, **MOVED),
}


def seen_in(generator: SequenceBatchGenerator, batches: Any) -> NDArray[np.bool_]:
    """Which bases of the genome batches have, by their metadata."""
    assert generator.headers is not None
    seen = np.zeros((len(LENGTHS), 200), bool)
    hashes = generator.headers.hashes.tolist()
    for batch in batches:
        x = batch[0] if generator.labelled else batch
        for header, start in x["metadata"].tolist():
            record = hashes.index(header)
            seen[record, max(start, 0) : min(start + 10, [*LENGTHS.values()][record])] = True
    return seen


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("limit", [None, 1, 2])
@pytest.mark.parametrize("steps", [None, 3])
def test_it_is_the_share_of_the_bases_that_batches_have(
    genome: Path, name: str, limit: int | None, steps: int | None
) -> None:
    generator = GENERATORS[name](genome)
    of_records = np.unique(generator.records(np.arange(generator.n_examples)))
    size = sum(length for number, length in enumerate(LENGTHS.values()) if number in of_records)
    coverage = generator.coverage(7, limit, steps)
    assert coverage is not None
    seen, found = np.zeros((len(LENGTHS), 200), bool), []
    for epoch in range(4):
        if steps is None:
            batches = generator.batches(7, epoch)
        else:
            batches = islice(generator.stream(7, steps * epoch), steps)
        seen |= seen_in(generator, islice(batches, limit))
        found.append(coverage.after(epoch + 1))
        assert found[-1] == pytest.approx(seen.sum() / size)
    going_on = generator.coverage(7, limit, steps)
    assert going_on is not None and going_on.after(4) == found[-1]


def test_shuffles_of_windows_are_none(genome: Path) -> None:
    plain, shuffles = peaks(genome), peaks(genome, negatives="shuffle")
    of_both = [generator.coverage(0) for generator in (plain, shuffles)]
    assert [coverage and coverage.after(1) for coverage in of_both] == [32 / 157, 32 / 157]


def test_whole_records_and_other_data_have_none(genome: Path) -> None:
    assert FastaBatchGenerator(f"{genome}/g.fa", unequal="pad").coverage(0) is None
    assert MatrixBatchGenerator(np.zeros((3, 2)), np.zeros(3)).coverage(0) is None


def test_all_of_a_genome_that_is_seen_is_looked_at_no_more(genome: Path) -> None:
    coverage = fasta(genome, stride=1).coverage(0)
    assert coverage is not None and coverage.after(1) == 157 / 157 == coverage.after(10**9)


DEFINITION = """
from torch import nn, optim
from helixband import Corruption, FastaBatchGenerator, MaskedTokenModel
from helixband.networks.one_hot import OneHot


def get_train_generator(data_dir, batch_size):
    kind = {"window": 50, "random_offsets": True, "shuffle": True, "batch_size": batch_size}
    train = FastaBatchGenerator(f"{data_dir}/genome.fa", **kind)
    return train, FastaBatchGenerator(f"{data_dir}/genome.fa", window=50)


def get_config():
    return {}


class Model(MaskedTokenModel):
    def init_model(self):
        network = nn.Sequential(OneHot(6), nn.Conv1d(6, 4, 3, padding=1))
        super().init_model(network, optim.Adam(network.parameters()), corruption=Corruption(mask=0.2))
"""


@pytest.mark.parametrize("flags", [["--dry-run"], ["--no-data-check"]])
def test_patience_may_look_at_it(project: Project, flags: list[str]) -> None:
    (project.data / "genome.fa").write_text(f">chr1\n{'ACGTT' * 30}\n")
    project.define(DEFINITION)
    options = ["patience=1", "patience_metric=coverage", "patience_mode=max"]
    assert project.run("--epoch", "3", "--batch-size", "4", *flags, "--with", *options).code == 0


def test_patience_for_it_is_refused_before_work_where_there_is_none(project: Project) -> None:
    (project.data / "genome.fa").write_text(f">chr1\n{'ACGTT' * 10}\n")
    project.define(DEFINITION.replace('FastaBatchGenerator(f"{data_dir}/genome.fa", **kind)', "WHOLE"))
    with (project.path / "def.py").open("a") as file:
        file.write("\nimport numpy\nfrom batch_generator import MatrixBatchGenerator\n")
        file.write("WHOLE = MatrixBatchGenerator(numpy.zeros((4, 50), 'uint8'))\n")
    options = ["patience=1", "patience_metric=coverage", "patience_mode=max"]
    failed = project.run("--epoch", "3", "--with", *options)
    assert failed.code == 2
    assert "patience_metric is 'coverage', which an epoch does not have" in failed.err
    assert not (project.results / "trials").exists()


def test_it_is_a_column_of_the_history_which_going_on_does_not_change(project: Project) -> None:
    text = "".join(np.random.default_rng(0).choice(list("ACGT"), 1010))
    (project.data / "genome.fa").write_text(f">chr1\n{text}\n")
    project.define(DEFINITION)
    flags = ["--batch-size", "4", "--with", "limit_train=2"]
    found = []
    for epochs in (["1", "3"], ["3"]):
        project.results = project.path / "-".join(epochs)
        for epoch in epochs:
            assert project.run("--epoch", epoch, *flags).code == 0
        with (project.results / "trials/single/train_results.csv").open() as file:
            found.append([float(row["coverage"]) for row in csv.DictReader(file)])
    assert found[0] == found[1] == sorted(found[1])
    assert found[0][0] == 8 * 50 / 1010
