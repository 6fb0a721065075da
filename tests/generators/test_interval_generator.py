"""Batches of windows around intervals of a genome: their bases, strands, targets and negatives."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyfaidx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_generator import FastaBatchGenerator, IntervalBatchGenerator
from helixband.errors import DataError
from helixband.generators.sequences import SequenceBatchGenerator
from helixband.sequence.alphabet import DNA, PROTEIN
from helixband.sequence.augmentation import Augmentation
from helixband.sequence.interval_files import read_bed, read_gff
from helixband.sequence.intervals import FAR, Intervals
from helixband.sequence.metadata import header_hash
from helixband.sequence.store import SequenceStore

Write = Callable[[str, str], str]

TOY = ">chr1\nAACCGGTTAC\n>chr2 the second\nCATCAT\n"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of some lines, blanks standing for tabs but in FASTA, and give its path."""

    def write(name: str, content: str) -> str:
        is_table = not name.endswith(".fa")
        (tmp_path / name).write_text(content.replace(" ", "\t") if is_table else content)
        return str(tmp_path / name)

    return write


@pytest.fixture
def toy(write: Write) -> str:
    return write("toy.fa", TOY)


def flat(generator: SequenceBatchGenerator) -> list[str]:
    """The sequences of the next epoch."""
    batches = [batch[0] if isinstance(batch, tuple) else batch for batch in generator]
    return sum((DNA.decode(x["x"] if isinstance(x, dict) else x) for x in batches), [])


def labelled(generator: SequenceBatchGenerator) -> list[tuple[str, Any]]:
    """(sequence, target) of each example of the next epoch."""
    return [pair for x, y in generator for pair in zip(DNA.decode(x), y.tolist(), strict=True)]


def refuses(message: str, *arguments: Any, **options: Any) -> None:
    with pytest.raises(DataError) as caught:
        IntervalBatchGenerator(*arguments, **options)
    assert message in str(caught.value)


# A large genome, and pyfaidx on it.

LENGTHS = {"chr1": 30_000, "chr2": 20_000, "chr3": 10_000}


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three chromosomes whose GC content goes up and down, with some N and lower case."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    with open(path, "w") as file:
        for name, length in LENGTHS.items():
            gc = 0.5 + 0.15 * np.sin(np.arange(length) / 300)
            letters = np.where(rng.random(length) < gc, rng.choice(list("GCgc"), length), "A")
            letters = np.where((letters == "A") & (rng.random(length) < 0.5), "T", letters)
            letters[rng.random(length) < 0.001] = "N"
            text = "".join(letters.tolist())
            file.write(f">{name} assembled\n")
            file.writelines(text[i : i + 61] + "\n" for i in range(0, length, 61))
    return str(path)


@pytest.fixture(scope="module")
def reference(genome: str) -> Any:
    with pyfaidx.Fasta(genome, sequence_always_upper=True) as opened:
        yield opened


def window_of(reference: Any, name: str, start: int, length: int, strand: str) -> str:
    """[start, start + length) of a strand by pyfaidx, with N for what is outside."""
    inside = reference[name][max(0, start) : start + length]
    text = "N" * max(0, -start) + inside.seq
    text = text.ljust(length, "N")
    return text if strand == "+" else str((-pyfaidx.Sequence(name="w", seq=text)).seq)


def random_peaks(seed: int, n: int, width: int = 40) -> Intervals:
    """Intervals anywhere, up to the ends of the chromosomes, of any strand."""
    rng = np.random.default_rng(seed)
    names = rng.choice(list(LENGTHS), n).tolist()
    starts = np.array([rng.integers(0, LENGTHS[name] - width + 1) for name in names])
    starts[:2] = 0, LENGTHS[names[1]] - width
    return Intervals.make(names, starts, starts + width, rng.choice(["+", "-", "."], n).tolist())


# Windows.


@pytest.mark.parametrize(
    ("bed", "window", "expected"),
    [
        ("chr1 2 6\nchr2 1 4\n", 4, ["CCGG", "CATC"]),
        ("chr1 2 6\nchr2 1 4\n", 3, ["CGG", "ATC"]),
        ("chr1 2 6\nchr2 1 5\n", None, ["CCGG", "ATCA"]),
        ("chr1 0 1\nchr1 9 10\n", 4, ["NNAA", "TACN"]),
        ("chr2 2 4\n", 8, ["NCATCATN"]),
        ("chr1 4 5 x 0 -\nchr1 4 5 y 0 +\nchr1 4 5 z 0 .\n", 5, ["ACCGG", "CCGGT", "CCGGT"]),
        ("chr1 0 1 x 0 -\nchr1 9 10 y 0 -\nchr2 2 4 z 0 -\n", 4, ["TTNN", "NGTA", "TGAT"]),
        ("chr2 2 4 z 0 -\n", 9, ["NNATGATGN"]),
    ],
)
def test_a_window_is_about_the_centre_of_its_interval_on_its_strand(
    write: Write, toy: str, bed: str, window: int | None, expected: list[str]
) -> None:
    generator = IntervalBatchGenerator(toy, write("x.bed", bed), window)
    assert flat(generator) == expected
    assert not generator.labelled


@pytest.mark.parametrize(
    ("window", "forward", "reverse"), [(9, 4, 4), (10, 5, 4), (3, 1, 1), (2, 1, 0), (1, 0, 0)]
)
def test_an_even_window_has_its_centre_one_base_earlier_on_the_reverse_strand(
    write: Write, window: int, forward: int, reverse: int
) -> None:
    genome = write("g.fa", ">c\n" + "C" * 20 + "A" + "C" * 19 + "T" + "C" * 20 + "\n")
    for bed in ("c 20 21 p 0 +\nc 40 41 m 0 -\n", "c 19 22 p 0 +\nc 39 42 m 0 -\n"):
        sequences = flat(IntervalBatchGenerator(genome, write("x.bed", bed), window))
        assert [each.index("A") for each in sequences] == [forward, reverse]


def test_strands_may_be_passed_over(write: Write, toy: str) -> None:
    bed = write("x.bed", "chr1 4 5 x 0 -\nchr1 4 5 y 0 +\n")
    generator = IntervalBatchGenerator(toy, bed, 5, stranded=False)
    assert flat(generator) == ["CCGGT", "CCGGT"]
    assert not generator.store.both_strands
    assert generator.regions(np.arange(2))[3] == ["+", "+"]


def test_intervals_come_from_bed_from_gff_and_as_intervals(write: Write, toy: str) -> None:
    gff = write("x.gff3", "chr1 . gene 3 6 . - . ID=g1\n")
    bed = write("x.bed", "chr1 2 6 g1 0 -\n")
    made = Intervals.make(["chr1"], [2], [6], ["-"])
    for source in (gff, bed, Path(bed), made):
        assert flat(IntervalBatchGenerator(toy, source)) == ["CCGG"]
        assert flat(IntervalBatchGenerator(SequenceStore.open(toy), source, 5)) == ["ACCGG"]


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 1000),
    window=st.integers(1, 200),
    batch_size=st.integers(1, 40),
    stranded=st.booleans(),
)
def test_windows_are_those_of_pyfaidx(
    genome: str, reference: Any, seed: int, window: int, batch_size: int, stranded: bool
) -> None:
    peaks = random_peaks(seed, 30)
    generator = IntervalBatchGenerator(genome, peaks, window, batch_size=batch_size, stranded=stranded)
    starts = (peaks.start + peaks.end) // 2 - window // 2
    expected = [
        window_of(reference, name, start, window, "-" if strand < 0 and stranded else "+")
        for name, start, strand in zip(
            peaks.chromosome_names(), starts.tolist(), peaks.strand.tolist(), strict=True
        )
    ]
    assert flat(generator) == expected
    assert len(list(generator)) == len(generator) == -(-30 // batch_size)


def test_a_window_that_leaves_its_chromosome_can_be_left_out_with_its_target(write: Write, toy: str) -> None:
    bed = write("x.bed", "chr1 0 2 a 1\nchr1 4 6 b 2\nchr2 2 4 c 3\nchr1 8 10 d 4\n")
    padded = IntervalBatchGenerator(toy, bed, 6, "score")
    assert labelled(padded) == [("NNAACC", 1), ("CCGGTT", 2), ("CATCAT", 3), ("TTACNN", 4)]
    kept = IntervalBatchGenerator(toy, bed, 6, "score", incomplete="drop")
    assert labelled(kept) == [("CCGGTT", 2), ("CATCAT", 3)]
    ends = write("ends.bed", "chr1 0 2\nchr2 0 2\n")
    refuses("no window of 8 bases lies within its chromosome", toy, ends, 8, incomplete="drop")


def test_regions_are_the_windows_without_their_padding(write: Write, toy: str) -> None:
    bed = write("x.bed", "chr1 0 1 a 0 -\nchr1 4 6 b 0 +\nchr2 5 6 c 0 .\n")
    names, starts, ends, strands = IntervalBatchGenerator(toy, bed, 4).regions(np.arange(3))
    assert names == ["chr1", "chr1", "chr2"]
    assert (starts.tolist(), ends.tolist()) == ([0, 3, 3], [2, 7, 6])
    assert strands == ["-", "+", "+"]


# Drawn windows.


@pytest.mark.parametrize("reverse_complement", [0, 0.5])
def test_jitter_moves_each_window_by_up_to_so_many_bases(
    genome: str, reference: Any, reverse_complement: float
) -> None:
    peaks = random_peaks(1, 60)
    generator = IntervalBatchGenerator(
        genome,
        peaks,
        31,
        np.arange(60),
        jitter=3,
        reverse_complement=reverse_complement,
        shuffle=True,
        batch_size=7,
        metadata=True,
    )
    names = peaks.chromosome_names()
    starts = (peaks.start + peaks.end) // 2 - 15
    moves: Counter[int] = Counter()
    turned = 0
    for _ in range(30):
        seen = []
        for x, y in generator:
            for codes, (code, start), number in zip(x["x"], x["metadata"].tolist(), y.tolist(), strict=True):
                assert code == header_hash(f"{names[number]} assembled")
                given, other = ("-", "+") if peaks.strand[number] < 0 else ("+", "-")
                text = DNA.decode(codes)
                if text != window_of(reference, names[number], start, 31, given):
                    assert text == window_of(reference, names[number], start, 31, other)
                    turned += 1
                moves[start - starts[number]] += 1
                seen.append(number)
        assert sorted(seen) == list(range(60))
    assert sorted(moves) == [-3, -2, -1, 0, 1, 2, 3]
    assert min(moves.values()) > 0.75 * max(moves.values())
    assert abs(turned / 1800 - reverse_complement) < 0.05


def test_validation_and_test_parts_come_as_they_stand(genome: str) -> None:
    peaks = random_peaks(1, 60)
    generator = IntervalBatchGenerator(
        genome,
        peaks,
        31,
        negatives="shuffle",
        jitter=3,
        reverse_complement=True,
        shuffle=True,
        balance=True,
        augmentation=Augmentation(reverse=1),
    )
    plain = IntervalBatchGenerator(genome, peaks, 31, negatives="shuffle")
    expected = labelled(plain)
    train, val, test = generator.split("chromosome", val=["chr2"], test=["chr3"])
    chromosome = np.tile(peaks.chromosome_names(), 2)
    assert labelled(val) == [expected[i] for i in np.flatnonzero(chromosome == "chr2")]
    assert labelled(test) == [expected[i] for i in np.flatnonzero(chromosome == "chr3")]
    assert labelled(train.plain()) == [expected[i] for i in np.flatnonzero(chromosome == "chr1")]
    assert (train.jitter, train.reverse_complement, train.balance) == (3, 0.5, True)
    assert (val.jitter, val.reverse_complement, val.balance, val.augmentation) == (0, 0, False, None)
    assert labelled(generator.plain()) == expected


def test_an_epoch_is_a_function_of_seed_and_epoch_whatever_the_batch_size(genome: str) -> None:
    def epoch(batch_size: int | None, seed: int, number: int) -> list[tuple[str, int]]:
        generator = IntervalBatchGenerator(
            genome,
            random_peaks(1, 60),
            31,
            negatives=2,
            jitter=3,
            reverse_complement=True,
            shuffle=True,
            batch_size=batch_size,
        )
        generator.set_epoch(seed, number)
        return labelled(generator)

    assert epoch(7, 1, 2) == epoch(50, 1, 2) == epoch(None, 1, 2) == epoch(180, 1, 2)
    assert epoch(7, 1, 2) != epoch(7, 1, 3)
    assert epoch(7, 1, 2) != epoch(7, 2, 2)


# Targets.


def test_targets_are_scores_or_by_label(write: Write, toy: str) -> None:
    bed = write("x.bed", "chr1 2 6 b 1.5\nchr2 1 5 a 3\n")
    table = write("x.tsv", "name level\na 30\nb 10\n")
    lines = write("x.target", "5\n6\n")
    assert labelled(IntervalBatchGenerator(toy, bed, None, "score")) == [("CCGG", 1.5), ("ATCA", 3)]
    assert labelled(IntervalBatchGenerator(toy, bed, None, (table, "level"))) == [("CCGG", 10), ("ATCA", 30)]
    assert labelled(IntervalBatchGenerator(toy, bed, None, lines)) == [("CCGG", 5), ("ATCA", 6)]
    assert labelled(IntervalBatchGenerator(toy, bed, None, [0, 1])) == [("CCGG", 0), ("ATCA", 1)]
    rule = IntervalBatchGenerator(toy, bed, None, lambda label: int(label == "b"))
    assert labelled(rule) == [("CCGG", 1), ("ATCA", 0)]
    scoreless = write("y.bed", "chr1 2 6 b 1\nchr2 1 5 a .\n")
    refuses("chr2 1 5 (0-based, end-exclusive) has no score to be its target", toy, scoreless, None, "score")


@pytest.mark.parametrize("text", [".", "nan", "inf", "-inf"])
def test_a_score_that_is_no_target_is_refused_with_its_line(write: Write, toy: str, text: str) -> None:
    bed = write("x.bed", f"chrom\tstart\tend\tname\tscore\n#\n1\t2\t6\tb\t1\n2\t1\t5\ta\t{text}\n")
    options: dict[str, Any] = {"window": 4, "targets": "score", "aliases": {"1": "chr1", "2": "chr2"}}
    with pytest.raises(DataError, match=f"{bed}: the interval chr2 1 5 .*, in line 4"):
        IntervalBatchGenerator(toy, bed, **options)
    if "inf" in text:
        with pytest.raises(DataError, match=", in line 4: the target is -?inf; remove or impute it$"):
            IntervalBatchGenerator(toy, bed, **options, allow_nan=True)
    else:
        generator = IntervalBatchGenerator(toy, bed, **options, allow_nan=True)
        assert np.array_equal(generator.get_Y(), [1, np.nan], equal_nan=True)


def test_targets_of_intervals_are_finite(write: Write, toy: str) -> None:
    bed, lines = write("x.bed", "chr1 2 6 b\nchr2 1 5 a\n"), write("x.target", "1\nnan\n")
    refuses(f"{lines}, line 2: the target is nan", toy, bed, None, lines)
    assert np.isnan(IntervalBatchGenerator(toy, bed, None, lines, allow_nan=True).get_Y()[1])


# Negatives.


def gc(sequence: str) -> float:
    return (sequence.count("G") + sequence.count("C")) / max(1, len(sequence.replace("N", "")))


@pytest.fixture
def broad(genome: str) -> Intervals:
    """Thirty peaks of 300 bases, far broader than the windows of 50."""
    starts = np.concatenate([np.arange(15) * 1900 + 700, np.arange(10) * 1900 + 300, np.arange(5) * 1900])
    return Intervals.make(["chr1"] * 15 + ["chr2"] * 10 + ["chr3"] * 5, starts, starts + 300)


@pytest.mark.parametrize("jitter", [0, 40])
def test_windows_of_the_genome_are_negatives_like_the_positives_and_off_all_intervals(
    genome: str, reference: Any, broad: Intervals, jitter: int
) -> None:
    exclude = Intervals.make(["chr1", "chr2"], [3000, 15_000], [9000, 20_000])
    generator = IntervalBatchGenerator(
        genome, broad, 50, negatives=3, exclude=exclude, jitter=jitter, shuffle=bool(jitter), metadata=True
    )
    assert generator.get_Y().tolist() == [1] * 30 + [0] * 90
    windows = generator.plain().intervals()
    assert windows is not None and (windows.end - windows.start == 50).all()
    positives, negatives = windows[:30], windows[30:]
    assert np.array_equal(positives.start, broad.start + 125)
    assert negatives.chromosome_names().tolist() == broad.chromosome_names().repeat(3).tolist()
    sequences = flat(generator.plain())
    assert sequences == [
        window_of(reference, name, start, 50, "+")
        for name, start in zip(windows.chromosome_names(), windows.start.tolist(), strict=True)
    ]
    for number in range(90):
        assert abs(gc(sequences[30 + number]) - gc(sequences[number // 3])) < 0.021
    for _ in range(3 if jitter else 0):
        for x, y in generator:
            starts = x["metadata"][y == 0, 1]
            codes = x["metadata"][y == 0, 0].tolist()
            names = [{header_hash(f"{name} assembled"): name for name in LENGTHS}[code] for code in codes]
            drawn = Intervals.make(names, np.maximum(starts, 0), starts + 50)
            assert not drawn.overlapping(broad).any() and not drawn.overlapping(exclude).any()
    assert not negatives.overlapping(broad).any() and not negatives.overlapping(exclude).any()


def test_no_move_by_jitter_brings_a_negative_and_a_positive_together(write: Write) -> None:
    path = write("g.fa", ">a\n" + "AC" * 2000 + "\n")
    peaks = Intervals.make(["a"] * 8, np.arange(8) * 480 + 60, np.arange(8) * 480 + 80)
    generator = IntervalBatchGenerator(path, peaks, 20, negatives=60, jitter=50, shuffle=True)
    reach = generator.intervals()
    assert not reach[8:].overlapping(reach[:8]).any()
    assert (reach[8:].distance_to(reach[:8]) < 3).any(), "and no more room than it takes is left free"


def test_with_jitter_dropped_windows_are_those_that_can_be_moved_out(write: Write, toy: str) -> None:
    bed = write("x.bed", "chr1 1 2 a 1\nchr1 2 3 b 2\nchr1 7 8 c 3\nchr1 8 9 d 4\nchr2 3 4 e 5\n")
    options = {"incomplete": "drop", "jitter": 2, "shuffle": True}
    generator = IntervalBatchGenerator(toy, bed, 1, "score", **options)
    assert generator.get_Y().tolist() == [2, 3, 5]
    assert not any("N" in sequence for _ in range(20) for sequence in flat(generator))
    refuses(
        "no window of 3 bases, moved by a jitter of 4, lies within its chromosome",
        toy,
        bed,
        3,
        incomplete="drop",
        jitter=4,
        shuffle=True,
    )


def test_with_jitter_dropped_negatives_are_as_many_as_asked_for(write: Write) -> None:
    path = write("g.fa", ">a\n" + "AC" * 60 + "\n")
    peaks = Intervals.make(["a"], [50], [60])
    generator = IntervalBatchGenerator(path, peaks, negatives=20, jitter=10, incomplete="drop", shuffle=True)
    assert generator.get_Y().tolist() == [1] + [0] * 20
    starts = generator.plain().intervals().start[1:]
    assert starts.min() >= 10 and starts.max() <= 100


def test_negatives_are_the_same_for_the_same_seed(genome: str, broad: Intervals) -> None:
    def sequences(seed: int, **options: Any) -> list[str]:
        return flat(IntervalBatchGenerator(genome, broad, 50, seed=seed, **options))

    for negatives in (2, np.int64(2), "shuffle"):
        assert sequences(1, negatives=negatives) == sequences(1, negatives=negatives)
        assert sequences(1, negatives=negatives) != sequences(2, negatives=negatives)


def test_a_positive_that_was_left_out_is_no_negative(write: Write) -> None:
    rng = np.random.default_rng(1)
    path = write("g.fa", ">a\n" + "".join(rng.choice(list("ACGT"), 400).tolist()) + "\n")
    peaks = Intervals.make(["a", "a"], [0, 200], [60, 220])
    generator = IntervalBatchGenerator(path, peaks, 80, negatives=1, incomplete="drop")
    windows = generator.intervals()
    assert windows is not None and windows.start[0] == 170 and len(windows) == 2
    assert not windows[1:].overlapping(peaks).any()


def test_negatives_have_the_strand_of_their_positives(genome: str, reference: Any) -> None:
    peaks = Intervals.make(["chr1", "chr2"], [500, 700], [550, 750], ["-", "+"])
    generator = IntervalBatchGenerator(genome, peaks, negatives=1)
    names, starts, _, strands = generator.regions(np.arange(4))
    assert strands == ["-", "+", "-", "+"]
    places = zip(names, starts.tolist(), strands, strict=True)
    assert flat(generator) == [window_of(reference, *place[:2], 50, place[2]) for place in places]


def pairs(sequence: str) -> Counter[str]:
    return Counter(sequence[i : i + 2] for i in range(len(sequence) - 1))


def test_shuffles_are_negatives_with_the_dinucleotides_of_the_positives(genome: str) -> None:
    peaks = random_peaks(2, 40)
    generator = IntervalBatchGenerator(genome, peaks, 50, negatives="shuffle", batch_size=9)
    examples = labelled(generator)
    assert [target for _, target in examples] == [1] * 40 + [0] * 40
    for number in range(40):
        positive, shuffle = examples[number][0], examples[40 + number][0]
        assert pairs(positive) == pairs(shuffle) and positive != shuffle
    part = generator.part(np.array([79, 3, 43]))
    assert labelled(part.plain()) == [examples[79], examples[3], examples[43]]


def test_shuffles_are_read_from_either_strand_as_often_as_the_positives(genome: str) -> None:
    peaks = random_peaks(2, 40)
    plain = IntervalBatchGenerator(genome, peaks, 50, negatives="shuffle")
    known = dict(labelled(plain))
    drawn = IntervalBatchGenerator(
        genome, peaks, 50, negatives="shuffle", reverse_complement=0.3, shuffle=True, batch_size=9
    )
    turned = {0: 0, 1: 0}
    for _ in range(30):
        examples = labelled(drawn)
        assert sorted(target for _, target in examples) == [0] * 40 + [1] * 40
        for sequence, target in examples:
            if sequence not in known:
                turned[target] += 1
                sequence = DNA.decode(DNA.reverse_complement(DNA.encode(sequence)))
            assert known[sequence] == target
    assert abs(turned[0] / 1200 - 0.3) < 0.05 and abs(turned[1] / 1200 - 0.3) < 0.05


def test_a_shuffle_goes_to_the_part_of_its_positive(genome: str) -> None:
    peaks = random_peaks(3, 60)
    generator = IntervalBatchGenerator(genome, peaks, 50, negatives="shuffle", shuffle=True)
    for part in generator.split("interval", val=0.2, test=0.2):
        examples = labelled(part.plain())
        half = len(examples) // 2
        assert [target for _, target in examples] == [1] * half + [0] * half
        for number in range(half):
            assert pairs(examples[number][0]) == pairs(examples[half + number][0])


def test_negatives_come_from_a_file_with_their_own_strands(write: Write, toy: str) -> None:
    bed = write("x.bed", "chr1 2 5\nchr1 5 8\n")
    negatives = write("n.bed", "chr2 0 3 a 0 -\nchr2 3 4 b 0 +\n")
    generator = IntervalBatchGenerator(toy, bed, 3, negatives=negatives)
    assert labelled(generator) == [("CCG", 1), ("GTT", 1), ("ATG", 0), ("TCA", 0)]
    as_intervals = IntervalBatchGenerator(toy, bed, 3, negatives=Intervals.make(["chr2"], [0], [1]))
    assert labelled(as_intervals)[-1] == ("NCA", 0)
    dropped = IntervalBatchGenerator(
        toy, bed, 3, negatives=Intervals.make(["chr2", "chr2"], [0, 3], [1, 4]), incomplete="drop"
    )
    assert labelled(dropped) == [("CCG", 1), ("GTT", 1), ("TCA", 0)]


def test_negatives_of_a_file_that_overlap_positives_are_refused(write: Write, toy: str) -> None:
    bed, negatives = write("x.bed", "chr1 2 5\n"), write("n.bed", "chr2 0 3\nchr1 4 7\nchr1 7 10\n")
    refuses(
        f"{negatives}: the interval chr1 4 7 (0-based, end-exclusive) is a negative and overlaps a positive, "
        "as do 0 more of 3",
        toy,
        bed,
        3,
        negatives=negatives,
    )


def test_balance_is_of_positives_and_negatives(genome: str, broad: Intervals) -> None:
    generator = IntervalBatchGenerator(
        genome, broad, 50, negatives=3, balance=True, shuffle=True, batch_size=13
    )
    examples = labelled(generator)
    assert Counter(target for _, target in examples) == {1: 60, 0: 60}
    assert len({pair for pair in examples if pair[1] == 1}) == 30
    assert len({pair for pair in examples if pair[1] == 0}) == 60
    assert len(generator) == 10


# Splits.


@pytest.mark.parametrize("by", ["chromosome", "interval", "cluster", "ratio"])
def test_a_split_gives_three_generators_without_common_examples(genome: str, by: str) -> None:
    peaks = random_peaks(4, 80)
    generator = IntervalBatchGenerator(
        genome, peaks, 50, negatives=2, jitter=5, reverse_complement=True, shuffle=True, batch_size=7
    )
    chosen: Any = {"val": ["chr2"], "test": ["chr3"]} if by == "chromosome" else {"val": 0.2, "test": 0.2}
    parts = generator.split(by, **chosen)
    examples = [labelled(part.plain()) for part in parts]
    assert Counter(sum(examples, [])) == Counter(labelled(generator.plain()))
    assert [len(list(part)) for part in parts] == [len(part) for part in parts]
    places = [places_of(part) for part in parts]
    assert not (places[0] & places[1] or places[0] & places[2] or places[1] & places[2])
    assert labelled(parts[1]) == examples[1] and labelled(parts[2]) == examples[2]
    if by in ("chromosome", "interval"):
        intervals = [part.intervals() for part in parts]
        for one, other in [(0, 1), (0, 2), (1, 2)]:
            assert not intervals[one].overlapping(intervals[other]).any()
    assert [len(labelled(part)) for part in parts] == list(map(len, examples))


def places_of(part: SequenceBatchGenerator) -> set[Any]:
    names, starts, ends, _ = part.regions(np.arange(part.n_examples))
    return set(zip(names, starts.tolist(), ends.tolist(), strict=True))


def test_a_split_by_interval_keeps_a_gap(genome: str) -> None:
    generator = IntervalBatchGenerator(genome, random_peaks(5, 200), 40)
    train, val, test = (part.intervals() for part in generator.split("interval", val=0.2, test=0.2, gap=60))
    for one, other in [(train, val), (train, test), (val, test)]:
        assert one is not None and other is not None
        distances = one.distance_to(other)
        assert (distances > 61).all() and (distances < FAR).any()


def test_intervals_have_the_bases_that_jitter_can_bring_in(write: Write, toy: str) -> None:
    bed = write("x.bed", "chr1 1 3\nchr1 4 6\nchr1 8 10\n")
    generator = IntervalBatchGenerator(toy, bed, jitter=2, shuffle=True)
    drawn, plain = generator.intervals(), generator.plain().intervals()
    assert (drawn.start.tolist(), drawn.end.tolist()) == ([0, 2, 6], [5, 8, 10])
    assert (plain.start.tolist(), plain.end.tolist()) == ([1, 4, 8], [3, 6, 10])
    assert generator.regions(np.arange(3))[1].tolist() == [1, 4, 8]


@pytest.mark.parametrize(("gap", "kept"), [(0, 60), (59, 60), (75, 75)])
def test_a_split_by_interval_keeps_twice_the_jitter_at_least(genome: str, gap: int, kept: int) -> None:
    generator = IntervalBatchGenerator(genome, random_peaks(5, 200), 40, jitter=30, shuffle=True)
    parts = [part.plain().intervals() for part in generator.split("interval", val=0.2, test=0.2, gap=gap)]
    train, val, test = parts
    nearest = min(one.distance_to(other).min() for one, other in [(train, val), (train, test), (val, test)])
    assert nearest > kept + 1
    without = IntervalBatchGenerator(genome, random_peaks(5, 200), 40)
    expected = without.split("interval", val=0.2, test=0.2, gap=kept)
    for part, other in zip(parts, expected, strict=True):
        assert part.start.tolist() == other.intervals().start.tolist()


def test_intervals_of_generators_of_the_same_genome_are_on_the_same_coordinates(
    write: Write, toy: str
) -> None:
    copy, other = write("copy.fa", TOY), write("other.fa", TOY.replace("CATCAT", "CATCAG"))
    bed = write("x.bed", "chr1 2 6\n")
    one, same, another = (IntervalBatchGenerator(path, bed).coordinates for path in (toy, copy, other))
    assert one == same == FastaBatchGenerator(toy, window=3).coordinates
    both = IntervalBatchGenerator(toy, bed, reverse_complement=True, shuffle=True)
    assert both.coordinates == one
    assert one is not None and one != another


# Prediction.


def test_prediction_is_on_windows_of_another_bed_on_the_same_genome(write: Write, toy: str) -> None:
    trained = IntervalBatchGenerator(
        toy,
        write("x.bed", "chr1 2 6\n"),
        negatives="shuffle",
        jitter=1,
        shuffle=True,
        layout="NCL",
        metadata=True,
    )
    new = write("new.bed", "chr2 0 6 long 0 -\nchr1 0 1 end 0 +\nchr1 4 5 short 0 .\n")
    generator = trained.for_prediction(new)
    assert not generator.labelled
    assert DNA.decode(generator.codes(np.arange(3))) == ["TGAT", "NNAA", "CCGG"]
    (x,) = generator
    assert x["x"].shape == (3, 4, 4)
    assert x["metadata"].tolist() == [
        [header_hash("chr2 the second"), 1],
        [header_hash("chr1"), -2],
        [header_hash("chr1"), 2],
    ]
    names, starts, ends, strands = generator.regions(np.arange(3))
    assert (names, starts.tolist(), ends.tolist()) == (["chr2", "chr1", "chr1"], [1, 0, 2], [5, 2, 6])
    assert strands == ["-", "+", "+"]


def test_prediction_is_along_the_records_of_a_fasta_file(write: Write, toy: str) -> None:
    trained = IntervalBatchGenerator(toy, write("x.bed", "chr1 2 6\n"), negatives="shuffle")
    new = write("new.fa", ">long\nACGTACGTA\n>short\nGG\n")
    generator = trained.for_prediction(new)
    assert isinstance(generator, FastaBatchGenerator)
    assert flat(generator) == ["ACGT", "ACGT", "ANNN", "GGNN"]
    assert flat(trained.for_prediction(new, stride=3)) == ["ACGT", "TACG", "GTAN", "GGNN"]


def test_prediction_keeps_aliases_and_strandedness(write: Write, toy: str) -> None:
    trained = IntervalBatchGenerator(
        toy, write("x.bed", "I 2 6\n"), aliases={"I": "chr1", "II": "chr2"}, stranded=False
    )
    assert flat(trained.for_prediction(write("new.bed", "II 0 4 a 0 -\n"))) == ["CATC"]


PEAK = "{} {} {} peak 0 . 1 1 1 {}\n"


def test_prediction_is_around_summits_where_the_training_was(write: Write, toy: str) -> None:
    peaks = read_bed(write("x.narrowPeak", PEAK.format("chr1", 0, 10, 3)), summits=True)
    trained = IntervalBatchGenerator(toy, peaks, window=4).part(np.array([0]))
    assert flat(trained) == ["ACCG"]
    assert flat(trained.for_prediction(write("new.narrowPeak", PEAK.format("chr1", 2, 10, 1)))) == ["ACCG"]
    assert flat(IntervalBatchGenerator(toy, write("x.bed", PEAK.format("chr1", 2, 10, 1)), window=4)) == [
        "GGTT"
    ]
    for name, content, message in (
        ("new.bed", "chr1 2 10\n", r"new\.bed, line 1: the summit is column 10.*read by its summits"),
        ("none.bed", PEAK.format("chr1", 2, 10, -1), r"no summit called.*write a get_pred_generator"),
        ("new.gff3", GENES, r"new\.gff3: it is to be read by its summits, and GFF3 has none"),
    ):
        with pytest.raises(DataError, match=message):
            trained.for_prediction(write(name, content))


GENES = "chr1 s gene 3 6 . + . .\nchr1 s exon 5 8 . + . .\n"


def test_prediction_is_on_features_of_the_kinds_that_the_training_had(write: Write, toy: str) -> None:
    path = write("x.gff3", GENES)
    trained = IntervalBatchGenerator(toy, read_gff(path, kinds="gene"))
    assert flat(trained.for_prediction(path)) == ["CCGG"]
    assert flat(IntervalBatchGenerator(toy, path).for_prediction(path)) == ["CCGG", "GGTT"]
    assert flat(trained.for_prediction(write("new.bed", "chr1 4 8\n"))) == ["GGTT"]
    with pytest.raises(DataError, match="no feature is of the kind 'gene'"):
        trained.for_prediction(write("none.gff3", GENES.replace("gene", "exon")))


def test_intervals_that_were_read_in_two_ways_do_not_say_how_to_read_others(write: Write, toy: str) -> None:
    path = write("x.narrowPeak", PEAK.format("chr1", 0, 4, 1))
    both = Intervals.concatenate([read_bed(path, summits=True), read_bed(path)])
    trained = IntervalBatchGenerator(toy, both, window=4)
    with pytest.raises(DataError, match=r"x\.narrowPeak: .* were read with summits and without; to read it"):
        trained.for_prediction(path)


def test_what_cannot_be_predicted_on_is_refused(write: Write, toy: str) -> None:
    trained = IntervalBatchGenerator(toy, write("x.bed", "chr1 2 6\n"))
    with pytest.raises(DataError, match=r"new\.txt: its suffix names no format of intervals"):
        trained.for_prediction("new.txt")
    with pytest.raises(DataError, match=r"chr9"):
        trained.for_prediction(write("other.bed", "chr9 0 1\n"))


# Names of chromosomes.


def test_names_that_differ_are_told_and_not_guessed(write: Write, toy: str) -> None:
    bed = write("x.bed", "1 2 6\n2 0 4\n")
    refuses('pass aliases="match"', toy, bed)
    for aliases in ("match", {"1": "chr1", "2": "chr2"}, write("names.tsv", "1 chr1\n2 chr2\n")):
        assert flat(IntervalBatchGenerator(toy, bed, aliases=aliases)) == ["CCGG", "CATC"]


def test_intervals_on_chromosomes_that_the_genome_lacks_can_be_left_out(write: Write, toy: str) -> None:
    bed = write("x.bed", "chr1 2 6 a 1\nchrUn 0 4 b 2\nchr2 0 4 c 3\n")
    refuses("'chrUn'", toy, bed)
    assert labelled(IntervalBatchGenerator(toy, bed, None, "score", missing="drop")) == [
        ("CCGG", 1),
        ("CATC", 3),
    ]


FOUR_LINES = "chr1 2 6 a 1\nchrUn 0 4 b 2\nchr2 0 4 c 3\nchr2 0 1 d 4\n"  # the window of d begins before 0


@pytest.mark.parametrize("incomplete", ["pad", "drop"])
@pytest.mark.parametrize("form", ["an array", "a file", "a table", "of those on the genome"])
def test_targets_of_intervals_that_are_left_out_are_left_out_along(
    write: Write, toy: str, incomplete: str, form: str
) -> None:
    targets: dict[str, Any] = {
        "an array": np.array([[10, 1], [20, 2], [30, 3], [40, 4]]),
        "a file": write("x.target", "10 1\n20 2\n30 3\n40 4\n"),
        "a table": (write("x.csv", "name,value\nd,40\na,10\nc,30\n"), "value"),
        "of those on the genome": [10, 30, 40],
    }
    bed = write("x.bed", FOUR_LINES)
    generator = IntervalBatchGenerator(toy, bed, 4, targets[form], missing="drop", incomplete=incomplete)
    labels = generator.get_Y()
    assert labels is not None
    assert labels.reshape(len(labels), -1)[:, 0].tolist() == [10, 30, 40][: 2 if incomplete == "drop" else 3]


@pytest.mark.parametrize("missing_of", [[1, 2, 3], [1, 0, 2, 3]])
def test_weights_of_intervals_that_are_left_out_are_left_out_along(
    write: Write, toy: str, missing_of: list[float]
) -> None:
    bed = write("x.bed", FOUR_LINES)
    generator = IntervalBatchGenerator(
        toy, bed, 4, "score", missing="drop", shuffle=True, sampling=missing_of
    )
    assert np.asarray(generator.sampling).tolist() == [1, 2, 3]


def test_weights_of_windows_that_leave_their_chromosome_are_left_out_along(write: Write, toy: str) -> None:
    bed = write("x.bed", FOUR_LINES)
    options: Any = {"missing": "drop", "incomplete": "drop", "shuffle": True}
    for weights in ([1, 0, 2, 3], torch.tensor([1.0, 0, 2, 3]), [1, 2]):
        generator = IntervalBatchGenerator(toy, bed, 4, "score", sampling=weights, **options)
        assert np.asarray(generator.sampling).tolist() == [1, 2]
    for wrong in ([1, 2, 3], 5):
        refuses("there are 2 examples, so it has to be (2,)", toy, bed, 4, sampling=wrong, **options)


def test_a_target_of_a_line_that_cannot_be_is_told_by_its_line(write: Write, toy: str) -> None:
    bed, options = write("x.bed", FOUR_LINES), {"missing": "drop", "window": 4}
    refuses(
        "x.target, line 3: the target is nan",
        toy,
        bed,
        targets=write("x.target", "1\n2\nnan\n4\n"),
        **options,
    )
    refuses("number 2 from 0 of the targets, of 'c' of", toy, bed, targets=[1, 2, np.inf, 4], **options)
    refuses(
        "has 3 records, and 4 with those left out, and the targets have the shape (2,)",
        toy,
        bed,
        targets=[1, 2],
        **options,
    )


# What is refused.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "they have 2 to 4 bases; pass window=… for windows of one length around their centres"),
        ({"window": 0}, "the window is 0; it has to be a number of bases, 1 or more"),
        ({"window": 2.5}, "the window is 2.5"),
        ({"window": 4, "jitter": -1, "shuffle": True}, "jitter is -1; it has to be a number of bases"),
        ({"window": 4, "jitter": 1.5, "shuffle": True}, "jitter is 1.5; it has to be a number of bases"),
        (
            {"window": 4, "jitter": 2},
            "(jitter, offsets, augmentation, balance) is for training: pass shuffle",
        ),
        ({"window": 4, "reverse_complement": True}, "pass shuffle=True too"),
        ({"window": 4, "incomplete": "cut"}, "incomplete is 'cut'; it has to be 'drop' or 'pad'"),
        ({"window": 4, "missing": "skip"}, "missing is 'skip'; it has to be 'raise' or 'drop'"),
        ({"window": 4, "layout": "LN"}, "layout is 'LN'; it has to be one of NL, NCL, NC1L, NLC"),
        ({"window": 4, "targets": [1, 0], "negatives": 1}, "leave targets out, or negatives"),
        ({"window": 4, "targets": [1, 0, 1]}, "have the shape (3,)"),
        ({"window": 4, "negatives": 0}, "per_positive is 0"),
        ({"window": 4, "negatives": "shufle"}, "negatives is 'shufle'; it has to be a whole number"),
        ({"window": 4, "negatives": 2.5}, "negatives is 2.5; it has to be a whole number of windows"),
        ({"window": 4, "negatives": True}, "negatives is True; it has to be a whole number of windows"),
        ({"window": 4, "negatives": ["x.bed"]}, "'shuffle', the path of a BED or GFF3 file, or Intervals"),
        ({"window": 4, "negatives": 1, "exclude": 3}, "the intervals are 3; they have to be the path"),
        ({"window": 4, "augmentation": 2, "shuffle": True}, "augmentation is 2; it has to be an Augm"),
        ({"window": 4, "balance": "classes", "shuffle": True}, "balance is 'classes'; it has to be True or"),
        ({"window": 4, "negatives": "none.bed"}, "none.bed: "),
        ({"window": 4, "negatives": "shuffle", "exclude": "x.bed"}, "give their number as negatives"),
        ({"window": 4, "exclude": "x.bed"}, "give their number as negatives, or leave exclude out"),
        ({"window": 4, "negatives": 50}, "50 negatives"),
        ({"window": 4, "balance": True, "shuffle": True}, "balance=True needs targets"),
        ({"window": 4, "batch_size": -1}, "batch_size is -1"),
        ({"window": 4, "aliases": {"chr1": "chrI"}}, "has no chromosome 'chr1', by its alias 'chrI'"),
    ],
)
def test_an_argument_that_makes_no_sense_is_refused(
    write: Write, toy: str, options: Any, message: str
) -> None:
    refuses(message, toy, write("x.bed", "chr1 2 6\nchr2 1 3\n"), **options)


def test_intervals_that_do_not_go_with_the_genome_are_refused(write: Write, toy: str) -> None:
    refuses("x.bed: the interval chr1 5 11", toy, write("x.bed", "chr1 5 11\n"), 4)
    refuses("there is none; give one interval at least", toy, Intervals.make([], [], []), 4)
    refuses("the file has no interval", toy, write("empty.bed", ""), 4)
    proteins = write("p.fa", ">p\nMKVLMKVL\n")
    window = Intervals.make(["p"], [2], [6])
    refuses("no complement", proteins, window, alphabet=PROTEIN, reverse_complement=True, shuffle=True)
    assert next(iter(IntervalBatchGenerator(proteins, window, alphabet=PROTEIN))).tolist() == [[17, 9, 10, 8]]


@pytest.mark.parametrize("window", [8, 10, 13, None])
def test_a_score_that_is_no_number_is_told_with_its_line_whatever_the_window(
    tmp_path: Path, window: int | None
) -> None:
    fasta, bed = tmp_path / "genome.fa", tmp_path / "peaks.bed"
    fasta.write_text(">chr1\n" + "ACGT" * 50 + "\n")
    bed.write_text("# peaks\ntrack name=x\nchr1\t10\t20\ta\t4\t+\nchr1\t30\t40\tb\tnan\t+\n")
    with pytest.raises(DataError, match="has no score to be its target, in line 4"):
        IntervalBatchGenerator(fasta, bed, window=window, targets="score")
