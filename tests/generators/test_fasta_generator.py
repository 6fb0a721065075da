"""Batches from FASTA files: which bases they have, in what form, in what order, and what is refused."""

import gzip
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pyfaidx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_generator import FastaBatchGenerator
from helixband.errors import DataError
from helixband.generators.sequences import SequenceBatchGenerator
from helixband.networks.one_hot import OneHot
from helixband.sequence.alphabet import DNA, PROTEIN, RNA, Alphabet
from helixband.sequence.augmentation import Augmentation
from helixband.sequence.intervals import parse_region
from helixband.sequence.metadata import header_hash

Write = Callable[..., str]

FOUR = {"a": "AACC", "b": "ACGT", "c": "GGNN", "d": "TTTT"}
UNEQUAL = {"a": "AC", "b": "ACGTA", "c": "GGG", "d": "T"}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write records to a FASTA file, and give its path."""

    def write(records: dict[str, str], name: str = "x.fa", width: int = 60) -> str:
        lines = []
        for header, sequence in records.items():
            lines += [f">{header}", *[sequence[i : i + width] for i in range(0, len(sequence), width)]]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return str(tmp_path / name)

    return write


def texts(generator: SequenceBatchGenerator) -> list[list[str]]:
    """The sequences of each batch of the next epoch."""
    return [generator.store.alphabet.decode(_parts(batch)[0]) for batch in generator]


def flat(generator: SequenceBatchGenerator) -> list[str]:
    return sum(texts(generator), [])


def labelled(generator: SequenceBatchGenerator) -> list[tuple[str, Any]]:
    """(sequence, target) of each example of the next epoch."""
    return [
        pair
        for x, y in generator
        for pair in zip(generator.store.alphabet.decode(x), y.tolist(), strict=True)
    ]


def _parts(batch: Any) -> tuple[Any, Any]:
    return batch if isinstance(batch, tuple) else (batch, None)


def refuses(message: str, *arguments: Any, **options: Any) -> None:
    with pytest.raises(DataError) as caught:
        FastaBatchGenerator(*arguments, **options)
    assert message in str(caught.value)


def random_text(rng: np.random.Generator, length: int, letters: str = "ACGT") -> str:
    return "".join(rng.choice(list(letters), length).tolist())


# Records and their form.


def test_records_come_as_indexes_in_batches(write: Write) -> None:
    batches = list(FastaBatchGenerator(write(FOUR), batch_size=3))
    assert [batch.tolist() for batch in batches] == [
        [[0, 0, 1, 1], [0, 1, 2, 3], [2, 2, 4, 4]],
        [[3, 3, 3, 3]],
    ]
    assert batches[0].dtype == np.uint8


def test_with_targets_a_batch_is_x_and_y(write: Write) -> None:
    generator = FastaBatchGenerator(write(FOUR), [1, 0, 1, 0], batch_size=3)
    assert generator.labelled and len(generator) == 2
    assert [y.tolist() for _, y in generator] == [[1, 0, 1], [0]]
    assert labelled(generator) == [("AACC", 1), ("ACGT", 0), ("GGNN", 1), ("TTTT", 0)]


def test_a_glob_and_gzip_are_read_in_natural_order_of_the_files(write: Write, tmp_path: Path) -> None:
    write({"ten": "ACGT"}, "part10.fa")
    two = write({"two": "GGGG"}, "part2.fa")
    (tmp_path / "part3.fa.gz").write_bytes(gzip.compress(b">three\nCCCC\n"))
    assert flat(FastaBatchGenerator(f"{tmp_path}/part*.fa*")) == ["GGGG", "CCCC", "ACGT"]
    assert flat(FastaBatchGenerator(Path(two))) == ["GGGG"]


@pytest.mark.parametrize(
    ("layout", "shape"), [("NL", (5,)), ("NCL", (4, 5)), ("NC1L", (4, 1, 5)), ("NLC", (5, 4))]
)
def test_the_layout_is_the_form_of_x(write: Write, layout: str, shape: tuple[int, ...]) -> None:
    generator = FastaBatchGenerator(write({"a": "ACGTN", "b": "GGCTA"}), layout=layout)
    (x,) = generator
    assert x.shape == (2, *shape) and generator.get_X_shape() == shape
    assert x.dtype == (np.uint8 if layout == "NL" else np.float32)
    assert x.flags.c_contiguous


def test_layouts_agree_with_each_other_and_with_the_layer(write: Write) -> None:
    path = write({"a": "ACGTN", "b": "GGCTA", "c": "nrcca"})
    indexes, ncl, nc1l, nlc = (
        next(iter(FastaBatchGenerator(path, layout=layout))) for layout in ("NL", "NCL", "NC1L", "NLC")
    )
    assert ncl[0].tolist() == [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0]]
    assert np.array_equal(nc1l, ncl[:, :, None, :])
    assert np.array_equal(nlc, ncl.transpose(0, 2, 1))
    assert np.array_equal(OneHot()(torch.from_numpy(indexes)).numpy(), ncl)


def test_another_alphabet_has_its_own_indexes_and_channels(write: Write) -> None:
    path = write({"a": "MKVX", "b": "AC*Y"})
    indexes, vectors = (
        next(iter(FastaBatchGenerator(path, alphabet=PROTEIN, layout=form))) for form in ("NL", "NCL")
    )
    assert indexes.tolist() == [[10, 8, 17, 20], [0, 1, 20, 19]]
    assert vectors.shape == (2, 20, 4)
    assert vectors.sum(axis=1).tolist() == [[1, 1, 1, 0], [1, 1, 0, 1]]


def test_metadata_are_the_hash_of_the_header_and_the_start(write: Write) -> None:
    path = write({"a first": "AACCGG", "b": "ACGTTT"})
    generator = FastaBatchGenerator(path, [0, 1], window=3, metadata=True, layout="NCL")
    ((x, _),) = generator
    assert x["x"].shape == (4, 4, 3) and x["metadata"].dtype == np.int64
    assert x["metadata"].tolist() == [
        [header_hash("a first"), 0],
        [header_hash("a first"), 3],
        [header_hash("b"), 0],
        [header_hash("b"), 3],
    ]
    assert generator.headers is not None
    assert generator.headers.header(x["metadata"][0, 0]) == "a first"


# Windows.


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["AACC", "GGTT", "CCCC"]),
        ({"incomplete": "pad"}, ["AACC", "GGTT", "ANNN", "CCCC", "CNNN", "GGNN"]),
        ({"stride": 2}, ["AACC", "CCGG", "GGTT", "CCCC"]),
        ({"stride": 2, "incomplete": "pad"}, ["AACC", "CCGG", "GGTT", "TTAN", "CCCC", "CCCN", "GGNN"]),
        ({"stride": 6}, ["AACC", "CCCC"]),
        ({"stride": 6, "incomplete": "pad"}, ["AACC", "TTAN", "CCCC", "GGNN"]),
        ({"min_length": 6}, ["AACC", "GGTT"]),
        ({"min_length": 5, "incomplete": "pad"}, ["AACC", "GGTT", "ANNN", "CCCC", "CNNN"]),
    ],
)
def test_windows_go_along_each_record(write: Write, options: Any, expected: list[str]) -> None:
    path = write({"a": "AACCGGTTA", "b": "CCCCC", "c": "GG"}, width=3)
    generator = FastaBatchGenerator(path, window=4, batch_size=2, **options)
    assert flat(generator) == expected
    assert generator.n_examples == len(expected) and len(generator) == (len(expected) + 1) // 2


def test_a_window_has_the_target_of_its_record(write: Write) -> None:
    path = write({"a": "AACCGGTTA", "b": "CCCCC"})
    generator = FastaBatchGenerator(path, [7, 9], window=4, batch_size=2)
    assert labelled(generator) == [("AACC", 7), ("GGTT", 7), ("CCCC", 9)]
    y = generator.get_Y()
    assert y is not None and y.tolist() == [7, 7, 9]
    (ratio, _, _) = generator.split("ratio", val=1 / 3, test=1 / 3)
    assert ratio.get_Y().tolist() == [target for _, target in labelled(ratio)]


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three records with lower case and IUPAC letters, wrapped in lines of 7."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    with open(path, "w") as file:
        for name, length in [("chr1", 211), ("chr2", 40), ("chr3", 97)]:
            text = random_text(rng, length, "ACGTacgtNRYn")
            file.write(f">{name} described\n")
            file.writelines(text[i : i + 7] + "\n" for i in range(0, length, 7))
    return str(path)


@settings(deadline=None, max_examples=40)
@given(
    window=st.integers(1, 60),
    stride=st.none() | st.integers(1, 70),
    incomplete=st.sampled_from(["drop", "pad"]),
    batch_size=st.integers(1, 50),
)
def test_windows_are_those_of_pyfaidx(
    genome: str, window: int, stride: int | None, incomplete: str, batch_size: int
) -> None:
    generator = FastaBatchGenerator(
        genome, window=window, stride=stride, incomplete=incomplete, batch_size=batch_size, metadata=True
    )
    names, starts, ends, strands = generator.regions(np.arange(generator.n_examples))
    with pyfaidx.Fasta(genome, sequence_always_upper=True) as reference:
        expected = [
            reference[name][start:end].seq.translate(str.maketrans("RY", "NN")).ljust(window, "N")
            for name, start, end in zip(names, starts, ends, strict=True)
        ]
        found = sum((DNA.decode(batch["x"]) for batch in generator), [])
        assert found == expected
        step = stride or window
        covered = [
            (record.name, start)
            for record in reference
            for start in range(0, len(record), step)
            if start + window <= len(record)
            or (incomplete == "pad" and _has_new(record, start, step, window))
        ]
    assert list(zip(names, starts.tolist(), strict=True)) == covered
    assert set(strands) == {"+"}


def _has_new(record: Any, start: int, step: int, window: int) -> bool:
    """Whether a window that leaves its record has a base that no window before it has."""
    return start == 0 or start - step + window < len(record)


def test_without_random_offsets_each_epoch_has_the_same_windows(write: Write) -> None:
    generator = FastaBatchGenerator(write({"a": "AACCGGTTA", "b": "CATCA"}), window=4, shuffle=True)
    assert [sorted(flat(generator)) for _ in range(3)] == [["AACC", "CATC", "GGTT"]] * 3


def test_random_offsets_begin_each_epoch_elsewhere_and_give_true_windows(write: Write) -> None:
    records = {"a": random_text(np.random.default_rng(1), 43), "b": "ACGTA", "c": "ACGT"}
    generator = FastaBatchGenerator(
        write(records), [5, 6, 7], window=4, random_offsets=True, shuffle=True, batch_size=3, metadata=True
    )
    header = {header_hash(name): name for name in records}
    offsets = set()
    for _ in range(40):
        found: dict[str, list[int]] = {"a": [], "b": [], "c": []}
        for x, y in generator:
            for codes, (code, start), target in zip(x["x"], x["metadata"].tolist(), y, strict=True):
                name = header[code]
                assert DNA.decode(codes) == records[name][start : start + 4]
                assert target == {"a": 5, "b": 6, "c": 7}[name]
                found[name].append(start)
        starts = sorted(found["a"])
        assert starts == list(range(starts[0], 40, 4)), "one after another, as many as there is room for"
        assert len(found["b"]) == len(found["c"]) == 1, "no offset costs a record its only window"
        offsets.add((starts[0], found["b"][0]))
    assert {offset for offset, _ in offsets} == {0, 1, 2, 3}
    assert {offset for _, offset in offsets} == {0, 1}


def test_an_epoch_of_random_offsets_leaves_nothing_behind(write: Write) -> None:
    path = write({"a": random_text(np.random.default_rng(1), 43), "b": "ACGTA"})
    options = {"window": 4, "batch_size": 3, "shuffle": True, "random_offsets": True, "targets": [0, 1]}
    used, unused = (FastaBatchGenerator(path, **options) for _ in range(2))
    for _ in range(5):
        list(used)
        assert flat(used.plain()) == flat(unused.plain())
        assert DNA.decode(used.codes(np.arange(10))) == DNA.decode(unused.codes(np.arange(10)))
    assert used.n_examples == unused.n_examples and len(used) == len(unused)
    assert used.get_Y().tolist() == unused.get_Y().tolist()
    used.set_epoch(0, 0)
    together = [(a.tolist(), b.tolist()) for (a, _), (b, _) in zip(used, used, strict=False)]
    used.set_epoch(0, 0)
    first, second = [x.tolist() for x, _ in used], [x.tolist() for x, _ in used]
    assert together == list(zip(first, second, strict=False)), "two epochs at once do not disturb each other"


# Targets.


def test_targets_are_an_array_or_a_list(write: Write) -> None:
    for targets in ([0, 1, 1, 0], np.array([0, 1, 1, 0])):
        assert [y for _, y in labelled(FastaBatchGenerator(write(FOUR), targets))] == [0, 1, 1, 0]
    matrix = FastaBatchGenerator(write(FOUR), np.arange(8).reshape(4, 2))
    assert matrix.get_Y().tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_targets_are_the_lines_of_a_target_file(write: Write, tmp_path: Path) -> None:
    (tmp_path / "x.target").write_text("1\n0\n0\n1\n")
    generator = FastaBatchGenerator(write(FOUR), str(tmp_path / "x.target"))
    assert labelled(generator) == [("AACC", 1), ("ACGT", 0), ("GGNN", 0), ("TTTT", 1)]
    (tmp_path / "x.target").write_text("1 0\n0 1\n0 1\n1 0\n")
    generator = FastaBatchGenerator(write(FOUR), tmp_path / "x.target")
    assert [y for _, y in labelled(generator)] == [[1, 0], [0, 1], [0, 1], [1, 0]]


@pytest.mark.parametrize(("name", "separator"), [("t.tsv", "\t"), ("t.csv", ",")])
def test_targets_are_a_column_of_a_table_by_name(
    write: Write, tmp_path: Path, name: str, separator: str
) -> None:
    rows = ["id tissue level", "d liver 4.5", "other liver 9", "a skin 1.5", "c skin 3", "b skin 2"]
    (tmp_path / name).write_text("\n".join(row.replace(" ", separator) for row in rows) + "\n")
    path = write({f"{name} described": sequence for name, sequence in FOUR.items()})
    generator = FastaBatchGenerator(path, (str(tmp_path / name), "level"))
    assert [y for _, y in labelled(generator)] == [1.5, 2, 3, 4.5]


def test_targets_are_finite_or_where_that_is_allowed_missing(write: Write, tmp_path: Path) -> None:
    path, lines = write(FOUR), tmp_path / "x.target"
    lines.write_text("1\n0\nnan\n1\n")
    with pytest.raises(DataError, match=f"{lines}, line 3: the target is nan"):
        FastaBatchGenerator(path, lines)
    with pytest.raises(DataError, match="'a' of .*: the target is inf"):
        FastaBatchGenerator({path: np.inf}, allow_nan=True)
    generator = FastaBatchGenerator(path, lines, allow_nan=True, window=2)
    assert np.array_equal(generator.get_Y(), np.repeat([1, 0, np.nan, 1], 2), equal_nan=True)


def test_targets_are_a_rule_on_the_header(write: Write) -> None:
    path = write({"a pos": "AC", "b neg": "GT", "c pos": "TT"})
    generator = FastaBatchGenerator(path, lambda header: int(header.endswith("pos")))
    assert [y for _, y in labelled(generator)] == [1, 0, 1]


def test_each_file_may_have_a_target(write: Write, tmp_path: Path) -> None:
    bound = write({"a": "AA", "b": "CC"}, "bound.fa")
    write({"c": "GG"}, "unbound1.fa")
    write({"d": "TT"}, "unbound2.fa")
    generator = FastaBatchGenerator({bound: 1, f"{tmp_path}/unbound*.fa": 0}, batch_size=3)
    assert labelled(generator) == [("AA", 1), ("CC", 1), ("GG", 0), ("TT", 0)]
    assert generator.get_Y().dtype == np.int64


def test_a_file_has_one_target(write: Write, tmp_path: Path) -> None:
    bound, other = write({"a": "AA"}, "bound.fa"), write({"b": "CC"}, "other.fa")
    refuses(f"{bound} has a target, and by", {bound: 1, f"{tmp_path}/*.fa": 0})
    refuses("with a target each; leave targets out", {bound: 1, other: 0}, [1, 0])
    refuses("it has to be {path or glob: target}", {})
    refuses("have to be numbers", {bound: "bound", other: "unbound"})
    refuses("no file matches", {bound: 1, f"{tmp_path}/nothing*.fa": 0})


# Sequences of several lengths.


def test_several_lengths_are_refused_unless_it_is_said_what_to_do(write: Write) -> None:
    refuses("record 'd' has 1 bases and 'b' 5; pass unequal='pad' or 'bucket'", write(UNEQUAL))


def test_padding_fills_up_to_the_longest_of_all(write: Write) -> None:
    generator = FastaBatchGenerator(write(UNEQUAL), unequal="pad", batch_size=2)
    assert texts(generator) == [["ACNNN", "ACGTA"], ["GGGNN", "TNNNN"]]
    assert generator.get_X_shape() == (5,)


def test_a_bucket_is_filled_up_to_the_longest_of_its_batch(write: Write) -> None:
    generator = FastaBatchGenerator(write(UNEQUAL), [0, 1, 2, 3], unequal="bucket", batch_size=2)
    assert texts(generator) == [["ACNNN", "ACGTA"], ["GGG", "TNN"]]
    assert [y.tolist() for _, y in generator] == [[0, 1], [2, 3]]


@settings(deadline=None, max_examples=20)
@given(batch_size=st.integers(1, 40), epoch=st.integers(0, 3))
def test_buckets_of_a_shuffled_epoch_have_each_sequence_once_and_little_padding(
    buckets: str, batch_size: int, epoch: int
) -> None:
    generator = FastaBatchGenerator(
        buckets, np.arange(700), unequal="bucket", batch_size=batch_size, shuffle=True, layout="NL"
    )
    generator.set_epoch(1, epoch)
    batches = list(generator)
    assert len(batches) == len(generator)
    seen = np.concatenate([y for _, y in batches])
    assert sorted(seen.tolist()) == list(range(700))
    for x, y in batches:
        lengths = generator.store.lengths[y]
        assert x.shape[1] == lengths.max()
        for row, number, length in zip(x, y, lengths, strict=True):
            assert np.array_equal(row[:length], generator.store.sequence(number))
            assert (row[length:] == DNA.empty).all()
    padded = sum(x.size for x, _ in batches) / generator.store.lengths.sum()
    assert padded < 1.15
    widths = [x.shape[1] for x, _ in batches]
    assert widths != sorted(widths), "batches of all lengths come mixed"


@pytest.fixture(scope="module")
def buckets(tmp_path_factory: pytest.TempPathFactory) -> str:
    """700 sequences of 20 to 200 bases."""
    rng = np.random.default_rng(2)
    path = tmp_path_factory.mktemp("buckets") / "b.fa"
    path.write_text("".join(f">s{i}\n{random_text(rng, int(rng.integers(20, 201)))}\n" for i in range(700)))
    return str(path)


def test_what_fills_up_stands_behind_on_either_strand(write: Write) -> None:
    path = write(UNEQUAL)
    turned = {"reverse_complement": 1, "shuffle": True}
    padded = FastaBatchGenerator(path, unequal="pad", **turned)
    assert sorted(flat(padded)) == sorted(["GTNNN", "TACGT", "CCCNN", "ANNNN"])
    bucketed = FastaBatchGenerator(path, unequal="bucket", **turned)
    assert sorted(flat(bucketed)) == sorted(["GTNNN", "TACGT", "CCCNN", "ANNNN"])
    windows = FastaBatchGenerator(path, window=3, incomplete="pad", **turned)
    assert sorted(flat(windows)) == sorted(["GTN", "CGT", "TAN", "CCC", "ANN"])
    for generator in (padded, windows):
        others = generator.x(np.arange(generator.n_examples), other_strand=True)
        assert sorted(DNA.decode(others)) == sorted(flat(generator))


# What is drawn.


def test_each_strand_is_read_in_proportion(write: Write) -> None:
    path = write({f"s{i}": "AACG" for i in range(2000)})
    for given_proportion, proportion in [(True, 0.5), (0.2, 0.2), (1.0, 1.0)]:
        generator = FastaBatchGenerator(path, reverse_complement=given_proportion, shuffle=True)
        sequences = flat(generator)
        assert set(sequences) <= {"AACG", "CGTT"}
        assert abs(sequences.count("CGTT") / 2000 - proportion) < 0.04


def test_windows_of_the_reverse_strand_are_those_of_pyfaidx(genome: str) -> None:
    generator = FastaBatchGenerator(
        genome, window=20, stride=7, incomplete="pad", reverse_complement=1, shuffle=True, metadata=True
    )
    with pyfaidx.Fasta(genome, sequence_always_upper=True) as reference:
        names = {header_hash(record.long_name): record.name for record in reference}
        for batch in generator:
            for codes, (code, start) in zip(batch["x"], batch["metadata"].tolist(), strict=True):
                there = reference[names[code]][start : start + 20]
                expected = there.reverse.complement.seq.translate(str.maketrans("RY", "NN")).ljust(20, "N")
                assert DNA.decode(codes) == expected


def test_augmentation_is_done_to_whole_batches(write: Write) -> None:
    generator = FastaBatchGenerator(
        write({"a": "AACG", "b": "TTTC"}), [0, 1], shuffle=True, augmentation=Augmentation(reverse=1.0)
    )
    assert sorted(labelled(generator)) == [("CTTT", 1), ("GCAA", 0)]
    assert sorted(labelled(generator.plain())) == [("AACG", 0), ("TTTC", 1)]


def test_what_is_drawn_needs_shuffled_epochs(write: Write) -> None:
    path = write({"a": "AACG", "b": "TTTC"})
    for options in (
        {"reverse_complement": True},
        {"augmentation": Augmentation(reverse=0.5)},
        {"balance": True, "targets": [0, 1]},
        {"random_offsets": True, "window": 2},
    ):
        refuses("pass shuffle=True too", path, **options)


def test_balance_gives_each_class_its_share_and_every_rare_example(write: Write) -> None:
    targets = [0] * 14 + [1] * 4 + [2] * 2
    path = write({f"s{i}": DNA.decode(np.array([i // 16, i // 4 % 4, i % 4], np.uint8)) for i in range(20)})
    generator = FastaBatchGenerator(path, targets, batch_size=5, shuffle=True, balance=True)
    seen = set()
    for _ in range(30):
        batches = list(generator)
        assert len(batches) == len(generator) == 4
        examples = labelled(generator)
        assert sorted(np.bincount([target for _, target in examples]).tolist()) == [6, 7, 7]
        assert len({pair for pair in examples if pair[1] == 1}) == 4
        assert len({pair for pair in examples if pair[1] == 2}) == 2
        assert len([pair for pair in examples if pair[1] == 0]) == len(
            {pair for pair in examples if pair[1] == 0}
        )
        seen |= set(examples)
        assert len({target for _, target in examples[:6]}) > 1, "the classes come mixed"
    assert len(seen) == 20, "over the epochs, every example of a common class"


def test_balance_is_for_class_indexes(write: Write) -> None:
    path = write(FOUR)
    for targets in (None, [0.0, 1.0, 0.5, 1.0], [[0, 1], [1, 0], [0, 1], [1, 0]]):
        refuses(
            "balance=True needs targets that are class indexes", path, targets, shuffle=True, balance=True
        )


# The order.


def order(generator: SequenceBatchGenerator, seed: int, epoch: int) -> list[str]:
    generator.set_epoch(seed, epoch)
    return flat(generator)


@pytest.fixture
def shuffled(write: Write) -> Callable[..., FastaBatchGenerator]:
    rng = np.random.default_rng(3)
    path = write({f"s{i}": random_text(rng, 12) for i in range(50)})
    return lambda batch_size=7, **options: FastaBatchGenerator(
        path, batch_size=batch_size, shuffle=True, **options
    )


DRAWN: list[dict[str, Any]] = [
    {},
    {"reverse_complement": True},
    {"window": 5, "random_offsets": True, "reverse_complement": 0.3},
    {"balance": True, "targets": [0] * 40 + [1] * 10},
]


@pytest.mark.parametrize("options", DRAWN)
def test_an_epoch_is_a_function_of_seed_and_epoch(shuffled: Any, options: Any) -> None:
    options = dict(options)
    used, unused = shuffled(**options), shuffled(**options)
    list(used)
    list(used)
    if "targets" in options:
        used, unused = used.part(np.arange(50)), unused.part(np.arange(50))
    epochs = {(seed, epoch): _sequences(used, seed, epoch) for seed in (0, 1) for epoch in (0, 1)}
    assert len(set(map(tuple, epochs.values()))) == 4
    for (seed, epoch), sequences in reversed(epochs.items()):
        assert _sequences(unused, seed, epoch) == sequences


@pytest.mark.parametrize("options", DRAWN)
def test_an_epoch_is_the_same_whatever_the_batch_size(shuffled: Any, options: Any) -> None:
    epochs = [_sequences(shuffled(batch_size=batch_size, **options), 4, 2) for batch_size in (1, 7, 50, None)]
    assert epochs[0] == epochs[1] == epochs[2] == epochs[3]


def _sequences(generator: SequenceBatchGenerator, seed: int, epoch: int) -> list[str]:
    generator.set_epoch(seed, epoch)
    return flat(generator)


def test_without_being_set_each_iteration_is_the_next_epoch(shuffled: Any) -> None:
    counted, one = shuffled(), shuffled()
    assert [flat(counted) for _ in range(3)] == [order(one, 0, epoch) for epoch in range(3)]


def test_an_epoch_that_was_left_half_way_does_not_move_the_next(shuffled: Any) -> None:
    generator, other = shuffled(reverse_complement=True), shuffled(reverse_complement=True)
    generator.set_epoch(9, 0)
    next(iter(generator))
    assert flat(generator) == order(other, 9, 1)


def test_two_trials_that_share_a_generator_have_their_own_epochs(shuffled: Any) -> None:
    shared, alone = shuffled(reverse_complement=True), shuffled(reverse_complement=True)
    together = [(order(shared, 1, epoch), order(shared, 2, epoch)) for epoch in range(3)]
    assert [first for first, _ in together] == [order(alone, 1, epoch) for epoch in range(3)]
    assert [second for _, second in together] == [order(alone, 2, epoch) for epoch in range(3)]


def test_shuffling_takes_nothing_from_the_global_random_numbers(shuffled: Any) -> None:
    np.random.seed(0)
    before = np.random.get_state()[1].tolist()
    list(shuffled(reverse_complement=True))
    assert np.random.get_state()[1].tolist() == before


def test_blocks_of_many_batches_have_the_batches_that_reading_one_by_one_has(
    shuffled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [x.tolist() for x in shuffled(reverse_complement=True)]
    monkeypatch.setattr("helixband.generators.sequences.BLOCK_BYTES", 1)
    assert [x.tolist() for x in shuffled(reverse_complement=True)] == whole


# Splits.


def parts_have_nothing_in_common(
    generator: SequenceBatchGenerator, parts: tuple[SequenceBatchGenerator, ...]
) -> None:
    sequences = [flat(part.plain()) for part in parts]
    assert sorted(sum(sequences, [])) == sorted(flat(generator.plain()))
    assert len(set(sum(sequences, []))) == sum(map(len, sequences)), "distinct ones to begin with"


def test_a_split_by_ratio_gives_three_parts(shuffled: Any) -> None:
    generator = shuffled(targets=[0] * 30 + [1] * 20, reverse_complement=True, balance=True)
    train, val, test = parts = generator.split("ratio", val=0.2, test=0.1)
    assert [part.n_examples for part in parts] == [35, 10, 5]
    parts_have_nothing_in_common(generator, parts)
    assert np.bincount(val.get_Y()).tolist() == [6, 4] and np.bincount(test.get_Y()).tolist() == [3, 2]
    assert train.shuffle and train.batch_size == 7 and train.reverse_complement == 0.5 and train.balance
    for part in (val, test):
        assert not (part.shuffle or part.reverse_complement or part.balance) and part.batch_size is None
        assert flat(part) == flat(part)
        assert labelled(part) == [
            pair for pair in labelled(generator.plain()) if pair in set(labelled(part))
        ], "in their order, as they stand"
    again = generator.split("ratio", val=0.2, test=0.1)
    assert [flat(part.plain()) for part in again] == [flat(part.plain()) for part in parts]
    other = generator.split("ratio", val=0.2, test=0.1, seed=1)
    assert flat(other[1]) != flat(val)


def test_a_part_of_a_part_is_a_part_of_the_whole(shuffled: Any) -> None:
    generator = shuffled(targets=list(range(50)))
    part = generator.part(np.array([40, 2, 7, 9])).part(np.array([3, 0]))
    assert part.get_Y().tolist() == [9, 40]
    assert [y for _, y in labelled(part.plain())] == [9, 40]
    assert sorted(y for _, y in labelled(part)) == [9, 40]


def test_a_split_by_chromosome_goes_by_headers_that_are_coordinates(write: Write) -> None:
    path = write({"chr1:1-4": "AAAA", "chr2:1-4(-) x": "CCCC", "chr1:3-6": "GGGG", "chr3:9-12": "TTTT"})
    generator = FastaBatchGenerator(path, [0, 1, 2, 3])
    train, val, test = generator.split("chromosome", val=["chr2"], test=["chr3"])
    assert [labelled(part) for part in (train, val, test)] == [
        [("AAAA", 0), ("GGGG", 2)],
        [("CCCC", 1)],
        [("TTTT", 3)],
    ]
    train, val, test = generator.split("chromosome", val=[], test=["chr1"])
    assert [part.n_examples for part in (train, val, test)] == [2, 0, 2]
    assert list(val) == []


def test_windows_of_records_with_coordinates_are_on_their_chromosomes(write: Write) -> None:
    path = write({"chr1:101-109": "AACCGGTTA", "chr2:11-17(-)": "CCCCCGG"})
    generator = FastaBatchGenerator(path, [0, 1], window=4, incomplete="pad")
    intervals = generator.intervals()
    assert intervals.chromosome_names().tolist() == ["chr1"] * 3 + ["chr2"] * 2
    assert intervals.start.tolist() == [100, 104, 108, 13, 10]
    assert intervals.end.tolist() == [104, 108, 109, 17, 13]
    assert intervals.strand.tolist() == [0, 0, 0, -1, -1]
    assert generator.coordinates == "headers"
    train, val, _ = generator.split("chromosome", val=["chr1"], test=[])
    assert labelled(train) == [("CCCC", 1), ("CGGN", 1)]
    assert val.intervals().start.tolist() == [100, 104, 108]
    names, starts, _, _ = generator.regions(np.arange(5))
    assert (names[3], starts.tolist()) == ("chr2:11-17(-)", [0, 4, 8, 0, 4]), "places in the file stay those"


def test_windows_of_regions_that_overlap_stay_together(write: Write) -> None:
    rng = np.random.default_rng(4)
    starts = (np.arange(20) * 50).repeat(2) + np.tile([0, 5], 20)
    path = write({f"chr1:{start + 1}-{start + 20}": random_text(rng, 20) for start in starts.tolist()})
    for drawn in ({}, {"random_offsets": True, "shuffle": True}):
        generator = FastaBatchGenerator(path, window=10, **drawn)
        parts = generator.split("interval", val=0.2, test=0.2)
        assert [part.n_examples for part in parts] == [48, 16, 16]
        pairs = [
            {parse_region(name)[1] // 50 for name in part.regions(np.arange(part.n_examples))[0]}
            for part in parts
        ]
        assert [len(pair) for pair in pairs] == [12, 4, 4] and len(set.union(*pairs)) == 20


def test_windows_at_random_offsets_can_be_anywhere_in_their_record(write: Write) -> None:
    path = write({"chr1:101-109(-)": "AACCGGTTA"})
    generator = FastaBatchGenerator(path, window=4, random_offsets=True, shuffle=True)
    intervals = generator.intervals()
    assert (intervals.start.tolist(), intervals.end.tolist()) == ([100, 100], [109, 109])
    assert generator.plain().intervals().start.tolist() == [105, 101]


def test_names_of_records_are_chromosomes_of_their_own_files_only(write: Write) -> None:
    one = FastaBatchGenerator(write({"s0": "AACC", "s1": "ACGT"}), window=2)
    other = FastaBatchGenerator(write({"s0": "GGGG", "s1": "TTTT"}, "y.fa"), window=2)
    assert one.coordinates == one.plain().coordinates == one.store.digest != other.coordinates
    assert FastaBatchGenerator(write({"s0": "AACC", "s1": "ACGT"})).coordinates is None
    assert FastaBatchGenerator(write({"chr1:1-4": "AACC"})).coordinates == "headers"


def test_headers_may_count_from_0_as_their_sequences_tell(write: Write) -> None:
    generator = FastaBatchGenerator(write({"chr1:0-4": "AAAA", "chr1:4-8": "CCCC"}))
    intervals = generator.intervals()
    assert intervals is not None
    assert (intervals.start.tolist(), intervals.end.tolist()) == ([0, 4], [4, 8])
    other = FastaBatchGenerator(write({"chr1:0-4": "AAAAA", "chr1:4-8": "CCCCC"}, "y.fa"))
    assert other.intervals() is None
    with pytest.raises(DataError, match="headers are not where their sequences are.*'cluster' or 'ratio'"):
        other.split("interval")


@pytest.mark.parametrize("window", [None, 10])
def test_headers_of_bedtools_with_names_keep_overlapping_sequences_together(
    write: Write, window: int | None
) -> None:
    rng = np.random.default_rng(4)
    starts = (np.arange(20) * 50).repeat(2) + np.tile([0, 5], 20)
    records = {f"p{n}::chr1:{at}-{at + 20}(+)": random_text(rng, 20) for n, at in enumerate(starts.tolist())}
    parts = FastaBatchGenerator(write(records), window=window).split("interval", val=0.2, test=0.2)
    places = [part.intervals() for part in parts]
    assert sum(map(len, places)) == 40 * (1 if window is None else 2)
    assert not any(one.overlapping(other).any() for one, other in permutations(places, 2))


def test_each_file_may_have_a_form_of_its_own(write: Write) -> None:
    from_0, from_1 = write({"chr1:10-14": "AAAA"}), write({"chr1:11-14": "CCCC"}, "y.fa")
    places = FastaBatchGenerator({from_0: 1, from_1: 0}).intervals()
    assert (places.start.tolist(), places.end.tolist()) == ([10, 10], [14, 14])


@pytest.mark.parametrize("by", ["interval", "chromosome"])
@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ("p::chr1:0-9", "p::chr2:0-4", "'p::chr1:0-9' looks like a region, but its sequence has 4 bases"),
        ("chr1:1-4", "other", "'other' is no region, as those of other files are"),
        ("chr1:1-4", "1:1-4", "they name one chromosome 'chr1' and '1'; write it in one way"),
    ],
)
def test_regions_that_cannot_be_read_are_told_in_a_split(
    write: Write, by: str, window: int | None, first: str, second: str, why: str
) -> None:
    files = {write({first: "ACGT"}): 0, write({second: "CCGT"}, "y.fa"): 1}
    generator = FastaBatchGenerator(files, window=window)
    assert generator.intervals() is None and generator.coordinates is None
    val: Any = 0.2 if by == "interval" else ["chr1"]
    with pytest.raises(DataError, match=f"{why}.*there is no {by} to split by; split by 'cluster'"):
        generator.split(by, val=val, test=0.2 if by == "interval" else [])


def test_a_split_by_interval_keeps_overlapping_sequences_together(write: Write) -> None:
    rng = np.random.default_rng(4)
    starts = rng.permutation(np.arange(40) * 50)[:30].repeat(2) + np.tile([0, 5], 30)
    path = write({f"chr1:{start + 1}-{start + 10}": random_text(rng, 10) for start in starts.tolist()})
    generator = FastaBatchGenerator(path)
    parts = generator.split("interval", val=0.2, test=0.2, gap=3)
    parts_have_nothing_in_common(generator, parts)
    assert [part.n_examples for part in parts] == [36, 12, 12]
    places = [part.intervals() for part in parts]
    for one in range(3):
        for other in range(3):
            if one != other:
                assert (places[one].distance_to(places[other]) > 4).all()


def test_a_split_by_cluster_keeps_similar_sequences_together(write: Write) -> None:
    rng = np.random.default_rng(5)
    records = {}
    for family in range(20):
        ancestor = random_text(rng, 120)
        for copy in range(3):
            records[f"f{family}.{copy}"] = ancestor[copy * 3 : copy * 3 + 100]
    generator = FastaBatchGenerator(write(records), [i // 3 for i in range(60)])
    parts = generator.split("cluster", val=0.2, test=0.2)
    parts_have_nothing_in_common(generator, parts)
    families = [set(part.get_Y().tolist()) for part in parts]
    assert [len(family) for family in families] == [12, 4, 4]
    assert not (families[0] & families[1] or families[0] & families[2] or families[1] & families[2])


def test_windows_along_a_genome_are_split_by_its_chromosomes(genome: str) -> None:
    generator = FastaBatchGenerator(genome, window=10)
    parts = generator.split("chromosome", val=["chr2"], test="chr3")
    assert [part.n_examples for part in parts] == [21, 4, 9]
    for part, name in zip(parts, ["chr1", "chr2", "chr3"], strict=True):
        assert set(part.regions(np.arange(part.n_examples))[0]) == {name}


def test_parts_of_random_offsets_are_of_whole_records(genome: str) -> None:
    generator = FastaBatchGenerator(genome, window=10, random_offsets=True, shuffle=True, metadata=True)
    train, val, _ = generator.split("chromosome", val=["chr2"], test=["chr3"])
    code = {header_hash(f"{name} described"): name for name in ("chr1", "chr2", "chr3")}
    for part, expected in [(train, {"chr1"}), (train.part(np.arange(21)), {"chr1"}), (val, {"chr2"})]:
        for _ in range(4):
            batches = [batch["metadata"] for batch in part]
            assert {code[header] for header in np.concatenate(batches)[:, 0].tolist()} == expected
    starts = [batch["metadata"][:, 1].tolist() for batch in val]
    assert starts == [[0, 10, 20, 30]], "as they stand"
    both, _, _ = generator.split("chromosome", val=["chr1"], test=[])
    last, _, _ = both.split("chromosome", val=["chr3"], test=[])
    assert {code[header] for batch in last for header in batch["metadata"][:, 0].tolist()} == {"chr2"}
    assert sum(part.n_examples for part in val.split("ratio", val=0.25, test=0.25)) == 4
    for whole in (generator, train):
        with pytest.raises(DataError, match="split by chromosome"):
            whole.split("ratio")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"val": 0.2},
            "split needs by, one of 'chromosome', 'interval', 'cluster', 'ratio', as in split(by='cluster', "
            "val=0.2, test=0.2)",
        ),
        (
            {"by": "random"},
            "split by 'random': it has to be one of 'chromosome', 'interval', 'cluster', 'ratio'",
        ),
        ({"by": "chromosome"}, "val is 0.1 and test 0.1; they have to be lists of chromosomes"),
        (
            {"by": "chromosome", "val": ["chr2"]},
            "test 0.1; they have to be lists of chromosomes, [] for none",
        ),
        ({"by": "ratio", "val": ["chr2"]}, "val is ['chr2'] and test 0.1; they have to be shares"),
        ({"by": "ratio", "val": 0.5, "test": 0.5}, "together they have to be below 1"),
        ({"by": "ratio", "gap": 5}, "the gap 5 is for a split by 'interval'"),
        ({"by": "chromosome", "val": ["chr9"], "test": []}, "there is no chromosome 'chr9'"),
        ({"by": "chromosome", "val": ["chr2"], "test": ["chr2"]}, "'chr2' is named twice"),
        ({"by": "interval", "gap": -1}, "the gap is -1"),
        ({"by": "interval", "gap": 2.5}, "the gap is 2.5; it has to be a number of bases, 0 or more"),
    ],
)
def test_a_split_that_makes_no_sense_is_refused(genome: str, arguments: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        FastaBatchGenerator(genome, window=10).split(**arguments)
    assert message in str(caught.value)


# Prediction.


def test_records_to_predict_on_are_cut_or_filled_up_to_the_length_trained_on(write: Write) -> None:
    trained = FastaBatchGenerator(write(FOUR), [0, 1, 0, 1], shuffle=True, reverse_complement=True)
    new = write({"long": "AACCGGTTA", "short": "CA", "same": "TTTT"}, "new.fa")
    generator = trained.for_prediction(new)
    assert not generator.labelled
    assert flat(generator) == ["AACC", "GGTT", "ANNN", "CANN", "TTTT"]
    names, starts, ends, strands = generator.regions(np.arange(5))
    assert names == ["long", "long", "long", "short", "same"]
    assert (starts.tolist(), ends.tolist()) == ([0, 4, 8, 0, 0], [4, 8, 9, 2, 4])
    assert strands == ["+"] * 5
    assert flat(trained.for_prediction(new, stride=3)) == ["AACC", "CGGT", "TTAN", "CANN", "TTTT"]


def test_the_form_of_x_is_that_of_training(write: Write) -> None:
    path = write(FOUR)
    generator = FastaBatchGenerator(path, layout="NC1L", metadata=True).for_prediction(path)
    (x,) = generator
    assert x["x"].shape == (4, 4, 1, 4) and x["metadata"].shape == (4, 2)
    rna = FastaBatchGenerator(write({"a": "ACGU"}, "r.fa"), alphabet=RNA)
    assert flat(rna.for_prediction(write({"b": "UUU"}, "s.fa"))) == ["UUUN"]
    windowed = FastaBatchGenerator(path, window=3, random_offsets=True, shuffle=True)
    assert flat(windowed.for_prediction(path)) == ["AAC", "CNN", "ACG", "TNN", "GGN", "NNN", "TTT", "TNN"]


def test_what_was_trained_in_buckets_predicts_on_whole_records(write: Write) -> None:
    trained = FastaBatchGenerator(write(UNEQUAL), unequal="bucket")
    generator = trained.for_prediction(write({"long": "ACGTACGTAC", "short": "G"}, "new.fa"))
    assert flat(generator) == ["ACGTACGTAC", "GNNNNNNNNN"]
    assert generator.regions(np.arange(2))[2].tolist() == [10, 1]
    assert DNA.decode(generator.x(np.array([1]))) == ["G"]
    with pytest.raises(DataError, match="trained on whole records, and takes such: give no stride"):
        trained.for_prediction(write(FOUR), stride=2)


def test_the_other_strand_of_an_example_can_be_asked_for(write: Write) -> None:
    generator = FastaBatchGenerator(write(FOUR))
    assert DNA.decode(generator.x(np.array([1, 2]), other_strand=True)) == ["ACGT", "NNCC"]


def test_a_model_of_fasta_files_does_not_predict_on_intervals(write: Write) -> None:
    with pytest.raises(DataError, match=r"new\.bed: the model was trained on FASTA.*get_pred_generator"):
        FastaBatchGenerator(write(FOUR)).for_prediction("new.bed")


# What is refused.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "NHWC"}, "layout is 'NHWC'; it has to be one of NL, NCL, NC1L, NLC"),
        (
            {"reverse_complement": 1.5, "shuffle": True},
            "reverse_complement is 1.5; it has to be a proportion",
        ),
        (
            {"reverse_complement": "half", "shuffle": True},
            "reverse_complement is 'half'; it has to be a prop",
        ),
        ({"batch_size": 0}, "batch_size is 0; it has to be None or an integer from 1"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"window": 0}, "window 0 and stride 0 have to be 1 at least"),
        ({"window": 2.0}, "window is 2.0; it has to be a number of bases, an integer"),
        ({"window": 2, "stride": 0}, "window 2 and stride 0 have to be 1 at least"),
        ({"window": 2, "stride": 1.5}, "stride is 1.5; it has to be a number of bases"),
        ({"window": 2, "min_length": "3"}, "min_length is '3'; it has to be a number of bases"),
        ({"window": 2, "incomplete": "keep"}, "incomplete is 'keep'; it has to be 'drop' or 'pad'"),
        ({"window": 9}, "no window of 9 fits: the longest of 4 records has 4 bases"),
        (
            {"window": 2, "unequal": "bucket"},
            "unequal='bucket' is for whole records: leave it out, or window",
        ),
        ({"unequal": "cut"}, "unequal is 'cut'; it has to be 'refuse', 'pad' or 'bucket'"),
        ({"stride": 2}, "are for windows along the records: give window too"),
        ({"min_length": 2}, "are for windows along the records: give window too"),
        ({"incomplete": "pad"}, "are for windows along the records: give window too"),
        ({"random_offsets": True, "shuffle": True}, "are for windows along the records: give window too"),
        ({"augmentation": 2, "shuffle": True}, "augmentation is 2; it has to be an Augmentation of"),
        ({"targets": [0, 1]}, "has 4 records, and the targets have the shape (2,); one a record is needed"),
        ({"targets": ["x", "y", "z", "w"]}, "have to be numbers"),
        ({"alphabet": PROTEIN, "reverse_complement": True, "shuffle": True}, "leave reverse_complement out"),
        (
            {"alphabet": RNA, "augmentation": Augmentation(shift=0.5, max_shift=2), "shuffle": True},
            "is not in the alphabet 'ACGU'",
        ),
    ],
)
def test_an_argument_that_makes_no_sense_is_refused(write: Write, options: Any, message: str) -> None:
    refuses(message, write(FOUR), **options)


def test_the_alphabet_of_the_augmentation_is_that_of_the_sequences(write: Write) -> None:
    path, shift = write({"a": "MKVL"}), {"shift": 1.0, "max_shift": 1}
    refuses(
        "give both the same alphabet",
        path,
        alphabet=PROTEIN,
        shuffle=True,
        augmentation=Augmentation(**shift),
    )
    augmentation = Augmentation(alphabet=PROTEIN, **shift)
    generator = FastaBatchGenerator(path, alphabet=PROTEIN, shuffle=True, augmentation=augmentation)
    assert flat(generator)[0] in ("KVLX", "XMKV")


def test_what_cannot_be_padded_is_refused(write: Write) -> None:
    bare = Alphabet("ACGT")
    generator = FastaBatchGenerator(
        write({"a": "AACCG"}), alphabet=bare, window=4, incomplete="pad", stride=2
    )
    with pytest.raises(DataError, match="has no empty token to pad it with"):
        list(generator)


def test_a_file_that_is_missing_or_no_fasta_is_refused_by_name(write: Write, tmp_path: Path) -> None:
    refuses("no file matches", str(tmp_path / "none.fa"))
    protein = write({"p": "MKVL"})
    refuses(f"{protein}, record 'p', position 3 (from 0): 'L'", protein)


def test_drop_last_means_nothing_without_a_batch_size_as_where_one_function_makes_all_sets(
    write: Write,
) -> None:
    path = write({str(number): "ACGT" for number in range(20)})

    def sets(batch_size: int | None) -> tuple[FastaBatchGenerator, ...]:
        data = FastaBatchGenerator(path, np.arange(20) % 2, batch_size, shuffle=True, drop_last=True)
        return data.split(by="ratio", val=0.2, test=0.2)

    assert [sum(map(len, (y for _, y in data))) for data in sets(None)] == [12, 4, 4]
    assert [sum(map(len, (y for _, y in data))) for data in sets(5)] == [10, 4, 4]


@pytest.mark.parametrize(
    "options", [{"window": 1}, {"unequal": "pad"}, {"unequal": "bucket"}], ids=["windows", "pad", "bucket"]
)
def test_drop_last_leaves_out_a_batch_that_is_not_full(write: Write, options: dict[str, Any]) -> None:
    records = UNEQUAL if "window" not in options else {"a": "ACGTAC", "b": "C"}
    generator = FastaBatchGenerator(write(records), None, 3, shuffle=True, drop_last=True, **options)
    for _ in range(4):  # in buckets it can be any batch of an epoch
        assert [len(batch) for batch in generator] == [3] * (generator.n_examples // 3)
    assert len(generator) == generator.n_examples // 3


def test_parts_for_evaluation_have_all_examples_although_training_drops_some(write: Write) -> None:
    whole = FastaBatchGenerator(write(FOUR), [0, 1, 2, 3], 2, shuffle=True, drop_last=True)
    train, val, test = whole.split("ratio", val=0.25, test=0.0)
    assert [sum(len(x) for x, _ in part) for part in (train, val)] == [2, 1]
