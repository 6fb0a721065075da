"""Token classification: labels at positions, those that are missing, spans, word pieces."""

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Project
from torch import nn, optim
from torch.nn import functional as F

from batch_generator import MatrixBatchGenerator
from helixband import TokenClassificationModel, align_labels
from helixband.errors import DataError, DefinitionError
from helixband.metrics import of_classes, span_scores, spans
from helixband.networks.one_hot import OneHot
from helixband.report.html import report_html
from helixband.report.summary import read_summary
from helixband.sequence.alphabet import DNA

NO, NAN = -100, float("nan")
BIO = ["O", "B-gene", "I-gene", "B-site", "I-site"]


class Model(TokenClassificationModel):
    classes = 3

    def init_model(self) -> None:
        network = nn.Sequential(
            OneHot(), nn.Conv1d(4, 16, 3, padding=1), nn.ReLU(), nn.Conv1d(16, self.classes, 1)
        )
        super().init_model(network, optim.Adam(network.parameters(), 0.02))


def model_of(kind: type[TokenClassificationModel] = Model) -> TokenClassificationModel:
    torch.manual_seed(0)
    return kind({}, Namespace(cpu=True, batch_size=50, seed=0))


def table(rows: int, seed: int, length: int = 40) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Labels: 1 at an A, 2 behind one, else 0; a tenth is another one, and a fifth is missing."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 4, (rows, length), np.uint8)
    behind = np.pad(x, ((0, 0), (1, 0)), constant_values=1)[:, :-1] == 0
    y = np.where(x == 0, 1, np.where(behind, 2, 0))
    y = np.where(rng.random(y.shape) < 0.1, (y + rng.integers(1, 3, y.shape)) % 3, y)
    return x, np.where(rng.random(y.shape) < 0.2, NO, y)


def test_the_planted_optimum_is_reached() -> None:
    model = model_of()
    train = MatrixBatchGenerator(*table(300, 0), 50, shuffle=True)
    model.fit(train, MatrixBatchGenerator(*table(200, 1)), 12)
    assert model.history[-1]["val_accuracy"] > 0.98 * 0.9


def test_positions_without_a_label_count_nowhere() -> None:
    x, y = table(30, 2)
    model = model_of()
    logits = model.network(torch.from_numpy(x)).detach()
    known = torch.from_numpy(y) != NO
    of_known = logits.movedim(1, 2)[known]
    found = model.evaluate(MatrixBatchGenerator(x, y, 7))
    assert found.loss == pytest.approx(F.cross_entropy(of_known, torch.from_numpy(y)[known]).item(), rel=1e-5)
    assert found.accuracy == pytest.approx(float((of_known.argmax(1).numpy() == y[y != NO]).mean()))


def test_metrics_are_those_of_classes_over_all_positions() -> None:
    y = np.array([[0, 1, NO, 2], [1, 1, 0, 0]])
    y_pred = np.random.default_rng(0).dirichlet([1, 1, 1], (2, 4)).transpose(0, 2, 1)
    flat = [y_pred[row, :, place] for row in range(2) for place in range(4) if y[row, place] != NO]
    assert model_of().eval_metrics(y, y_pred) == of_classes([0, 1, 2, 1, 1, 0, 0], flat)


def test_names_of_classes_give_metrics_of_spans() -> None:
    class Named(Model):
        class_names = ("O", "exon", "intron")

    y = np.array([[0, 1, 1, 2, 2, 0]])
    y_pred = np.eye(3)[[[0, 1, 1, 2, 0, 0]]].transpose(0, 2, 1)
    found = model_of(Named).eval_metrics(y, y_pred)
    assert {name: value for name, value in found.items() if "span" in name or "accuracy_" in name} == {
        "accuracy_O": 1.0,
        "accuracy_exon": 1.0,
        "accuracy_intron": 0.5,
        "span_precision": 0.5,
        "span_recall": 0.5,
        "span_f1": 0.5,
        "span_f1_exon": 1.0,
        "span_f1_intron": 0.0,
    }


@pytest.mark.parametrize(
    ("y", "told"),
    [
        (np.zeros(20, int), r"the labels are an array \(20,\) of int64; .* one for each position: \(N, S\)"),
        (np.zeros((20, 10, 3), int), r"the labels are an array \(20, 10, 3\) of int64"),
        (np.full((20, 10), True), r"the labels are an array \(20, 10\) of bool"),
        ({"y": np.zeros((20, 10), int)}, r"the labels are a dict"),
        (np.full((20, 10), 0.5), r"row 0 of the labels is 0.5, at position 0 \(from 0\); classes are whole"),
        (np.pad([[3]], ((4, 15), (2, 7))), r"row 4 of the labels is 3, at position 2 \(from 0\), .* 0 to 2"),
        (np.pad([[-1]], ((4, 15), (2, 7))), r"row 4 of the labels is -1, at position 2"),
    ],
)
@pytest.mark.parametrize("trains", [True, False])
def test_labels_that_it_is_not_made_for_are_refused(y: Any, told: str, trains: bool) -> None:
    x, model = np.zeros((20, 10), np.uint8), model_of()
    good, bad = MatrixBatchGenerator(x, np.zeros((20, 10), int)), MatrixBatchGenerator(x, y)
    with pytest.raises(DataError, match=told):
        if trains:
            model.fit(bad, good, 1)
        else:
            model.evaluate(bad)


def test_labels_of_another_length_are_refused() -> None:
    data = MatrixBatchGenerator(np.zeros((20, 10), np.uint8), np.zeros((20, 9), int))
    with pytest.raises(
        DefinitionError, match=r"gave the shape \(20, 3, 10\) for labels of the shape \(20, 9\)"
    ):
        model_of().evaluate(data)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float32])
def test_batches_of_different_lengths_are_evaluated_as_if_they_were_padded(dtype: Any) -> None:
    class Named(Model):
        class_names = ("O", "B-a", "I-a")

        def init_model(self) -> None:
            super().init_model()
            for weights in self.network.parameters():  # of which sums are exact, so that ties remain ties
                weights.data = (weights.data * 64).round() / 64

    sets = [table(6, seed=length, length=length) for length in (9, 14, 14, 7)]
    short = [(x, (np.abs(y) % 3).astype(dtype)) for x, y in sets]
    long = [
        tuple(
            np.pad(each.astype(int), ((0, 0), (0, 14 - each.shape[1])), constant_values=filler)
            for each, filler in zip(batch, (DNA.empty, NO), strict=True)
        )
        for batch in short
    ]
    found, expected = model_of(Named).evaluate(short), model_of(Named).evaluate(long)
    assert dict(found) == pytest.approx(dict(expected), rel=1e-6, nan_ok=True)


def test_a_batch_without_labels_trains_nothing() -> None:
    model = model_of()
    before = [each.detach().clone() for each in model.network.parameters()]
    loss, _ = model.train_step(torch.zeros(5, 8, dtype=torch.uint8), torch.full((5, 8), NO))
    assert float(loss) == 0.0 and all(map(torch.equal, before, model.network.parameters()))


# Spans.


def test_spans_in_bio_form() -> None:
    # A second gene begins at once; a site within a gene; I- after another kind begins a span.
    labels = [[1, 2, 1, 2, 3, 4, 2, 0, 4, 4]]
    assert spans(labels, BIO).tolist() == [
        [0, 0, 2, 0],
        [0, 2, 4, 0],
        [0, 4, 6, 1],
        [0, 6, 7, 0],
        [0, 8, 10, 1],
    ]


@pytest.mark.parametrize("letters", ["IBES", "IBLU"])
def test_a_last_and_a_single_position_end_a_span(letters: str) -> None:
    inside, first, last, alone = (f"{letter}-gene" for letter in letters)
    names = ["O", inside, first, last, alone, "B-site"]
    # Two genes of one position side by side; a last position that nothing begins.
    labels = [[2, 1, 3, 4, 4, 0, 3, 1, 4, 1, 5]]
    expected = [(0, 3, 0), (3, 4, 0), (4, 5, 0), (6, 7, 0), (7, 8, 0), (8, 9, 0), (9, 10, 0), (10, 11, 1)]
    assert [tuple(span[1:]) for span in spans(labels, names).tolist()] == expected


def test_names_with_a_stroke_that_are_no_places_are_kinds() -> None:
    assert spans([[1, 1, 2, 0]], ["O", "E-box", "S-phase"]).tolist() == [[0, 0, 2, 0], [0, 2, 3, 1]]
    assert span_scores([[1, 2, 2]], [[1, 2, 2]], ["O", "I-gene", "exon"])["span_f1_I-gene"] == 1.0


def test_spans_of_plain_labels_are_runs() -> None:
    labels = [[1, 1, 2, 2, 0, 1], [1, 0, 0, 0, 2, 2]]
    assert spans(labels, ["O", "exon", "intron"]).tolist() == [
        [0, 0, 2, 0],
        [0, 2, 4, 1],
        [0, 5, 6, 0],
        [1, 0, 1, 0],  # a run ends with its row
        [1, 4, 6, 1],
    ]


def test_without_an_outside_each_position_is_in_a_span() -> None:
    assert spans([[0, 0, 1]], ["helix", "sheet"]).tolist() == [[0, 0, 2, 0], [0, 2, 3, 1]]


def test_positions_without_a_label_are_skipped_in_spans() -> None:
    assert spans([[NO, 1, NO, 2, NO, 0]], BIO).tolist() == [[0, 1, 4, 0]]
    assert span_scores([[NO, 1, NO, 2]], [[3, 1, 0, 2]], BIO)["span_f1"] == 1.0
    assert spans([[1.0, NAN, 2.0]], BIO).tolist() == [[0, 0, 3, 0]]
    assert span_scores([[NAN, 1, NAN, 2]], [[3, 1, 0, 2]], BIO)["span_f1"] == 1.0


def test_a_span_counts_if_start_end_and_kind_are_right() -> None:
    true = [[1, 2, 0, 1, 0, 3, 4, 4]]
    pred = [[1, 2, 0, 3, 0, 3, 4, 0]]  # right; of another kind; too short
    found = span_scores(true, pred, BIO)
    assert found == pytest.approx(
        {
            "span_precision": 1 / 3,
            "span_recall": 1 / 3,
            "span_f1": 1 / 3,
            "span_f1_gene": 2 / 3,
            "span_f1_site": 0.0,
        }
    )


def test_without_spans_their_metrics_are_undefined() -> None:
    found = span_scores([[0, 0]], [[0, 0]], ["O", "gene"])
    assert (
        list(found) == ["span_precision", "span_recall", "span_f1"] and np.isnan(list(found.values())).all()
    )


def test_a_class_without_a_name_is_refused() -> None:
    with pytest.raises(DataError, match=r"the class 2, and names \['O', 'gene'\] are given"):
        spans([[0, 2]], ["O", "gene"])


# Word pieces.


class Encoding(dict[str, Any]):
    def __init__(self, pieces: list[list[tuple[int, int | None]]]) -> None:
        super().__init__(
            input_ids=[[number for number, _ in row] for row in pieces],
            attention_mask=[[1] * len(row) for row in pieces],
        )
        self._words = [[word for _, word in row] for row in pieces]

    def word_ids(self, number: int) -> list[int | None]:
        return self._words[number]


class Pieces:
    """A tokenizer whose pieces are of up to three letters, between two special tokens, 1 and 2."""

    pad_token_id = 9

    def __call__(
        self, words: list[list[str]], is_split_into_words: bool, max_length: int | None = None
    ) -> Encoding:
        assert is_split_into_words
        rows = []
        for of_row in words:
            pieces: list[tuple[int, int | None]] = [(1, None)]
            for number, word in enumerate(of_row):
                pieces += [(ord(word[start]), number) for start in range(0, len(word), 3)]
            rows.append([*pieces[:max_length], (2, None)])
        return Encoding(rows)


def test_the_first_piece_of_a_word_has_its_label() -> None:
    arrays, labels = align_labels(Pieces(), ["abcdefg", "hi", "jklm"], [3, 0, 1])
    assert labels.tolist() == [[NO, 3, NO, NO, 0, 1, NO, NO]]
    assert arrays["input_ids"].tolist() == [[1, 97, 100, 103, 104, 106, 109, 2]]
    assert labels.dtype == np.int64


def test_sequences_of_different_lengths_are_filled_up() -> None:
    arrays, labels = align_labels(Pieces(), [["abcd", "e"], ["f"]], [[1, 2], [0]])
    assert labels.tolist() == [[NO, 1, NO, 2, NO], [NO, 0, NO, NO, NO]]
    assert arrays["input_ids"].tolist() == [[1, 97, 100, 101, 2], [1, 102, 2, 9, 9]]
    assert arrays["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]


def test_words_that_are_cut_off_have_no_label() -> None:
    _, labels = align_labels(Pieces(), ["ab", "cd", "ef"], [0, 1, 2], max_length=3)
    assert labels.tolist() == [[NO, 0, 1, NO]]


@pytest.mark.parametrize(
    ("words", "labels", "told"),
    [
        (
            ["a", "b"],
            ["O", "B-x"],
            r"the labels of sequence 0 \(from 0\) are \['O', 'B-x'\]; .* number the names",
        ),
        (["a", "b"], [1.5, 0.0], r"labels of sequence 0 .* have to be class indexes"),
        (["a", "b"], [1], r"sequence 0 \(from 0\) has 2 words and 1 labels"),
        ([["a"], ["b", "c"]], [[1], [1]], r"sequence 1 \(from 0\) has 2 words and 1 labels"),
        ([["a"], ["b"]], [[1]], r"words of 2 sequences, and labels of 1"),
        ([["a", "b"]], [1], r"sequence 0 \(from 0\) has 2 words and 1 labels"),
        (["a", "b"], [[1, 2]], r"sequence 0 \(from 0\) has 2 words and labels of the shape \(1, 2\)"),
        (
            [["a"], ["b"]],
            [[1], [-5]],
            r"labels of sequence 1 \(from 0\) are \[-5\]; .* give -100 to a word",
        ),
        ([["a", 7]], [[1, 2]], r"the words of sequence 0 \(from 0\) have 7; they have to be a list of texts"),
        ("ab", [1, 2], r"the words of sequence 0 \(from 0\) have 'ab'; they have to be a list of texts"),
        ([], [], r"there are no words"),
    ],
)
def test_words_without_a_label_are_refused(words: Any, labels: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        align_labels(Pieces(), words, labels)


def test_a_word_may_have_no_label() -> None:
    assert align_labels(Pieces(), ["ab", "cd"], [NO, 1])[1].tolist() == [[NO, NO, 1, NO]]


def test_the_name_of_a_tokenizer_is_none() -> None:
    with pytest.raises(DefinitionError, match=r"the tokenizer is 'bert'; .* AutoTokenizer.from_pretrained"):
        align_labels("bert", ["a"], [1])  # type: ignore[arg-type]


def test_a_tokenizer_that_does_not_tell_words_is_refused() -> None:
    def slow(words: Sequence[Sequence[str]], is_split_into_words: bool) -> dict[str, Any]:
        return {"input_ids": [[1]]}

    with pytest.raises(DefinitionError, match="gave a dict without word_ids; .* a fast one"):
        align_labels(slow, ["a"], [1])


def test_a_tokenizer_that_makes_several_sequences_of_one_is_refused() -> None:
    with pytest.raises(DefinitionError, match="made 2 sequences of 1; leave out return_overflowing_tokens"):
        align_labels(lambda words, **options: Encoding([[(1, 0)], [(2, 0)]]), ["a"], [1])


def test_words_and_labels_may_be_arrays() -> None:
    given = align_labels(Pieces(), np.array(["abcd", "e"]), np.array([1, 2]))
    assert given[1].tolist() == [[NO, 1, NO, 2, NO]]
    assert align_labels(Pieces(), [["e"]], [2])[1].tolist() == [[NO, 2, NO]]


@pytest.mark.parametrize("extra", [{"offset_mapping": [[(0, 1)] * 3]}, {"length": [3]}])
def test_what_is_no_number_for_each_piece_is_refused(extra: dict[str, Any]) -> None:
    def more(words: Any, **options: Any) -> Encoding:
        encoding = Encoding([[(1, None), (97, 0), (2, None)]])
        encoding.update(extra)
        return encoding

    with pytest.raises(DefinitionError, match=f"the tokenizer gave '{[*extra][0]}', which is not a number"):
        align_labels(more, ["a"], [1])


# A run.

DEFINITION = """
import numpy as np
from torch import nn, optim

from helixband import MatrixBatchGenerator, TokenClassificationModel
from helixband.networks.one_hot import OneHot


def table(seed, rows):
    x = np.random.default_rng(seed).integers(0, 4, (rows, 20), np.uint8)
    return x, np.where(x == 0, 1, np.where(x == 1, LABEL, 0))


def get_train_generator(data_dir, batch_size):
    return MatrixBatchGenerator(*table(0, 60), batch_size), MatrixBatchGenerator(*table(1, 20))


def get_test_generator(data_dir):
    return MatrixBatchGenerator(*table(2, 20))


def get_config():
    return {}


class Model(TokenClassificationModel):
    class_names = ["O", "gene"]

    def init_model(self):
        network = nn.Sequential(OneHot(), nn.Conv1d(4, 2, 1))
        super().init_model(network, optim.Adam(network.parameters(), 0.1))
"""


def test_a_run_trains_tests_and_reports(project: Project) -> None:
    project.definition.write_text(DEFINITION.replace("LABEL", "-100"))
    done = project.run("--epoch", "9", "--eval")
    assert done.code == 0, done.out + done.err
    found = project.json("test_result.json")
    assert found["accuracy"] == found["auroc"] == found["auroc_median"] == found["span_f1"] == 1.0
    assert b"span_f1" in report_html(read_summary(project.results))


def test_a_run_tells_a_label_of_no_class_before_any_work(project: Project) -> None:
    project.definition.write_text(DEFINITION.replace("LABEL", "2"))
    done = project.run("--epoch", "1", "--eval")
    assert done.code != 0
    assert "of the labels is 2, at position" in done.err and "2 classes, 0 to 1" in done.err
    assert "Traceback" not in done.err
