"""FASTA files that repeat names, as the published enhancer benchmark does: numbered by file and record."""

import gzip
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch_generator import FastaBatchGenerator, IntervalBatchGenerator
from helixband.audit.__main__ import main as audit
from helixband.errors import DataError
from helixband.sequence.fasta import read_fasta
from helixband.sequence.store import SequenceStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bound.fa").write_text(">1 first\nACGTACGT\n>2\nGGGGAAAA\n>1\nTTTTACGT\n")
    (tmp_path / "free.fa.gz").write_bytes(gzip.compress(b">1\nCCCCAAAA\n>\nAAAACCCC\n"))
    return tmp_path


def both(folder: Path, **options: Any) -> FastaBatchGenerator:
    return FastaBatchGenerator({f"{folder}/bound.fa": 1, f"{folder}/free.fa.gz": 0}, **options)


NAMES = ["bound.fa:1", "bound.fa:2", "bound.fa:3", "free.fa.gz:1", "free.fa.gz:2"]


def test_a_repeated_name_is_refused_and_the_message_offers_numbers(folder: Path) -> None:
    offer = 'number the records: in the generator of def.py by names="number", in an input of --predict or '
    offer += "of a command by --names number"
    with pytest.raises(DataError, match=f"bound.fa, line 5: the header has the name '1'.*{offer}"):
        both(folder)
    (folder / "bound.fa").write_text(">1\nACGTACGT\n")
    (folder / "free.fa.gz").write_bytes(gzip.compress(b">1\nCCCCAAAA\n"))
    with pytest.raises(DataError, match=f"both have a record '1'; rename one, or {offer}"):
        both(folder)


def test_numbers_name_the_records_of_several_files(folder: Path) -> None:
    generator = both(folder, names="number")
    assert generator.store.names == NAMES
    assert generator.store.headers == ["1 first", "2", "1", "1", ""]
    x, y = next(iter(generator))
    assert x.shape == (5, 8) and y.tolist() == [1, 1, 1, 0, 0]


def test_numbers_do_not_make_names_unique_for_who_asks_for_those_of_headers(folder: Path) -> None:
    SequenceStore.open(folder / "bound.fa", names="number")
    with pytest.raises(DataError, match="the header has the name '1', as does line 1"):
        SequenceStore.open(folder / "bound.fa")


def test_numbers_stay_in_another_process_and_on_both_strands(folder: Path) -> None:
    store = SequenceStore.open(folder / "bound.fa", names="number")
    assert pickle.loads(pickle.dumps(store)).names == NAMES[:3]
    assert store.with_both_strands().names == NAMES[:3]


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.fa").write_text(">1\nACGT\n")
    store = SequenceStore.open([tmp_path / "train/x.fa", tmp_path / "test/x.fa"], names="number")
    assert store.names == ["train/x.fa:1", "test/x.fa:1"]


def test_a_link_keeps_its_own_name(folder: Path) -> None:
    (folder / "link.fa").symlink_to(folder / "bound.fa")
    assert SequenceStore.open(folder / "link.fa", names="number").names[0] == "link.fa:1"


def test_the_table_of_targets_names_records_by_number(folder: Path) -> None:
    (folder / "t.tsv").write_text("name\ty\n" + "".join(f"bound.fa:{n}\t{n / 2}\n" for n in (3, 1, 2)))
    table = (f"{folder}/t.tsv", "y")
    y = FastaBatchGenerator(f"{folder}/bound.fa", table, names="number").get_Y()
    assert y is not None and y.tolist() == [0.5, 1.0, 1.5]


def test_a_split_by_chromosome_takes_numbers(folder: Path) -> None:
    windows = both(folder, names="number", window=4)
    train, val, test = windows.split("chromosome", val=["bound.fa:2"], test=["free.fa.gz:1"])
    assert (train.n_examples, val.n_examples, test.n_examples) == (6, 2, 2)


def test_metadata_tell_records_of_one_header_apart(folder: Path) -> None:
    generator = both(folder, names="number", metadata=True)
    x, _ = next(iter(generator))
    assert len(np.unique(x["metadata"][:, 0])) == 5
    assert generator.headers is not None
    assert generator.headers.header(int(x["metadata"][0, 0])) == "bound.fa:1 1 first"


def test_what_is_predicted_is_named_as_the_training_data_or_as_asked_for(folder: Path) -> None:
    trained = FastaBatchGenerator(f"{folder}/bound.fa", window=4, names="number")
    made = trained.for_prediction(f"{folder}/free.fa.gz")
    assert made.regions(np.arange(2))[0] == ["free.fa.gz:1"] * 2
    (folder / "unique.fa").write_text(">a\nACGTACGT\n")
    plain = FastaBatchGenerator(f"{folder}/unique.fa", window=4)
    assert plain.for_prediction(f"{folder}/bound.fa", names="number").store.names == NAMES[:3]


def test_intervals_and_negatives_lie_on_numbered_records(folder: Path) -> None:
    (folder / "p.bed").write_text("bound.fa:1\t0\t4\nbound.fa:3\t4\t8\n")
    genome, peaks = f"{folder}/bound.fa", f"{folder}/p.bed"
    generator = IntervalBatchGenerator(genome, peaks, negatives="shuffle", names="number")
    assert generator.regions(np.arange(2))[0] == ["bound.fa:1", "bound.fa:3"]


def test_another_value_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="names is 'numbers'; it has to be one of 'header', 'number'"):
        both(folder, names="numbers")


def test_a_file_is_read_into_memory_with_numbers(folder: Path) -> None:
    assert read_fasta(folder / "free.fa.gz", names="number") == (NAMES[3:], ["CCCCAAAA", "AAAACCCC"])


def test_the_audit_takes_numbers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [f"{folder}/bound.fa", f"{folder}/free.fa.gz"]
    assert audit(files) == 1
    assert "--names number" in capsys.readouterr().err
    assert audit([*files, "--names", "number", "--json"]) == 0
    assert '"n_train": 3' in capsys.readouterr().out
