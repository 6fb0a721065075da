"""Labels of words, brought to the word pieces into which a tokenizer cuts them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helixband.errors import DataError, DefinitionError, in_one_line
from helixband.metrics.tokens import MISSING


def align_labels(
    tokenizer: Callable[..., Any],
    words: Sequence[Any],
    labels: Sequence[Any],
    **options: Any,
) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.int64]]:
    """(the tokenizer's arrays by name, labels), each (N, S) int64, for a `TokenClassificationModel`.

    `tokenizer`: one of Hugging Face's transformers that knows its words ("fast"), or any callable like it:
    called with the words of several sequences and `is_split_into_words=True`, it returns a mapping of lists
    of numbers (N, S), `input_ids` among them, with a method `word_ids(i)`: of each piece of sequence i the
    number of its word, or None. `words`: those of a sequence, or of N sequences. `labels`: class indexes, as
    many. `options` go to the tokenizer: `truncation=True, max_length=512`.

    The first piece of each word has its label. Further pieces have −100, and so has what is of no word, as
    special tokens and padding are. Words that the tokenizer cuts off have no piece; of one that it cuts in
    two, the first piece that is left has the label. Sequences of
    different lengths are filled up at the end: −100 in the labels, the tokenizer's `pad_token_id` in
    `input_ids`, and 0 in the other arrays. Give `padding=True` to leave that to the tokenizer.

    Raises `DataError` where there are not as many labels as words or a label is no class index, and
    `DefinitionError` for a tokenizer that does not tell the words of its pieces, that makes several sequences
    of one, or that gives something else than a number for each piece.
    """
    if len(words) and isinstance(words[0], str):
        words, labels = [words], [labels]
    labels = _checked_labels(words, labels)
    if not callable(tokenizer):
        raise DefinitionError(
            f"the tokenizer is {in_one_line(tokenizer)}; give the object itself, as "
            "AutoTokenizer.from_pretrained(…) makes it"
        )
    encoding = tokenizer([list(each) for each in words], is_split_into_words=True, **options)
    if not hasattr(encoding, "word_ids"):
        raise DefinitionError(
            f"the tokenizer {in_one_line(tokenizer)} gave a {type(encoding).__name__} without word_ids; take "
            "one that tells of which word a piece is, in transformers a fast one: "
            "AutoTokenizer.from_pretrained(…, use_fast=True)"
        )
    if strange := [name for name, rows in encoding.items() if any(np.ndim(row) != 1 for row in rows)]:
        raise DefinitionError(
            f"the tokenizer gave {strange[0]!r}, which is not a number for each piece; leave out the option "
            "that asks for it"
        )
    if len(encoding["input_ids"]) != len(words):
        raise DefinitionError(
            f"the tokenizer made {len(encoding['input_ids'])} sequences of {len(words)}; leave out "
            "return_overflowing_tokens, and cut long sequences before"
        )
    aligned = [_of_pieces(encoding.word_ids(number), each) for number, each in enumerate(labels)]
    filler = getattr(tokenizer, "pad_token_id", None) or 0
    arrays = {name: _filled(rows, filler if name == "input_ids" else 0) for name, rows in encoding.items()}
    return arrays, _filled(aligned, MISSING)


def _checked_labels(words: Sequence[Any], labels: Sequence[Any]) -> list[NDArray[Any]]:
    """The labels of each sequence, (words,); raises `DataError` where there is not one for each word."""
    if not len(words):
        raise DataError("there are no words; give those of one sequence at least")
    if len(words) != len(labels):
        raise DataError(f"there are words of {len(words)} sequences, and labels of {len(labels)}")
    return [_of_sequence(number, *each) for number, each in enumerate(zip(words, labels, strict=True))]


def _of_sequence(number: int, words: Any, labels: Any) -> NDArray[Any]:
    """The labels of one sequence, (words,)."""
    where, is_list = f"sequence {number} (from 0)", isinstance(words, Iterable) and not isinstance(words, str)
    strange = [word for word in words if not isinstance(word, str)] if is_list else [words]
    if strange:
        raise DataError(
            f"the words of {where} have {in_one_line(strange[0])}; they have to be a list of texts, one for "
            "each word"
        )
    found = np.atleast_1d(np.asarray(labels))
    if found.ndim != 1 or len(words) != len(found):
        told = f"{len(found)} labels" if found.ndim == 1 else f"labels of the shape {found.shape}"
        raise DataError(f"{where} has {len(words)} words and {told}: give each word a label")
    is_index = found.dtype.kind in "iu" and bool(((found >= 0) | (found == MISSING)).all())
    if found.size and not is_index:
        raise DataError(
            f"the labels of {where} are {in_one_line(labels)}; they have to be class indexes, whole numbers: "
            f"number the names of the classes from 0, and give {MISSING} to a word without a label"
        )
    return found


def _of_pieces(word_ids: Sequence[int | None], labels: Any) -> list[int]:
    """The label of each piece, given the number of its word."""
    found, before = [], None
    for word in word_ids:
        found.append(MISSING if word is None or word == before else int(labels[word]))
        before = word
    return found


def _filled(rows: Sequence[Sequence[int]], filler: int) -> NDArray[np.int64]:
    """Rows of different lengths as one array, (N, S)."""
    found = np.full((len(rows), max(map(len, rows), default=0)), filler, np.int64)
    for number, row in enumerate(rows):
        found[number, : len(row)] = row
    return found
