"""Alphabets: what texts become as indexes, and back."""

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from helixband.errors import DataError
from helixband.sequence.alphabet import DNA, PROTEIN, RNA, UNKNOWN, Alphabet

CODONS = Alphabet(["ATG", "GCC", "TAA"], ["[END]"])
GREEDY = Alphabet(["A", "B", "AB", "ABC"])
"""Letters alone spell its longer tokens."""

MARKED = DNA.add_control_tokens(["[CLS]", "[SEP]"])

alphabets = st.sampled_from([DNA, RNA, PROTEIN, CODONS, MARKED])


def ascii_codes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), dtype=np.uint8)


# The alphabets that are ready.


def test_dna_has_its_four_letters_in_alphabetical_order_and_then_every_code_for_several() -> None:
    assert DNA.encode("ACGT").tolist() == [0, 1, 2, 3]
    assert DNA.encode("acgt").tolist() == [0, 1, 2, 3]
    assert DNA.encode("NRYSWKMBDHVnryswkmbdhv").tolist() == [4] * 22
    assert (DNA.empty, DNA.mask, DNA.n_tokens, len(DNA)) == (4, 5, 4, 6)
    assert DNA.encode("ACGT").dtype == np.uint8
    assert DNA.encode("").shape == (0,)


def test_rna_has_u_in_the_place_of_t() -> None:
    assert RNA.encode("ACGUacguNr").tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4, 4]
    assert RNA.decode(RNA.reverse_complement(RNA.encode("AACGU"))) == "ACGUU"
    assert (RNA.empty, RNA.mask, RNA.n_tokens, len(RNA)) == (4, 5, 4, 6)
    with pytest.raises(DataError, match=r"position 1 \(from 0\) holds 'T', .* alphabet 'ACGU'"):
        RNA.encode("AT")


def test_protein_has_the_twenty_by_letter_and_reads_what_is_ambiguous_or_rare_as_x() -> None:
    assert PROTEIN.encode("ACDEFGHIKLMNPQRSTVWY").tolist() == list(range(20))
    assert PROTEIN.encode("XBJZUO*xbjzuo").tolist() == [20] * 13
    assert (PROTEIN.empty, PROTEIN.mask, PROTEIN.n_tokens, len(PROTEIN)) == (20, 21, 20, 22)
    with pytest.raises(DataError, match="has no complement"):
        PROTEIN.reverse_complement(PROTEIN.encode("MKV"))


# Text to indexes.


@pytest.mark.parametrize(
    ("sequence", "place", "letter"),
    [
        ("ACGU", 3, "U"),
        ("AC GT", 2, " "),
        ("-ACGT", 0, "-"),
        ("ACG*", 3, "*"),
        ("Aé", 1, "é"),
        ("AÿC", 1, "ÿ"),
        ("ACG🧬T?", 3, "🧬"),
        ("A\n", 1, "\\n"),
        ("A\0", 1, "\\x00"),
        ("AC[MASK", 2, "["),
        ("A[MASK]]", 7, "]"),
        ("A[mask]", 1, "["),
    ],
)
def test_a_letter_of_no_alphabet_is_refused_with_its_place(sequence: str, place: int, letter: str) -> None:
    with pytest.raises(DataError) as caught:
        DNA.encode(sequence)
    assert str(caught.value) == (
        f"position {place} (from 0) holds '{letter}', which is not in the alphabet 'ACGT'"
    )


@settings(deadline=None)
@given(sequence=st.text("ACGTacgtN"))
def test_encoding_is_letter_by_letter(sequence: str) -> None:
    assert DNA.encode(sequence).tolist() == ["ACGTN".index(letter.upper()) for letter in sequence]


def test_a_control_token_is_read_within_a_text() -> None:
    assert DNA.encode("AC[MASK]gt[MASK]").tolist() == [0, 1, 5, 2, 3, 5]
    assert MARKED.encode("[CLS]AN[SEP]").tolist() == [6, 0, 4, 7]


def test_tokens_are_of_any_length_and_the_longest_from_the_left_wins() -> None:
    assert CODONS.encode("ATGGCCTAA[END]").tolist() == [0, 1, 2, 3]
    assert GREEDY.encode("AABABCB").tolist() == [0, 2, 3, 1]
    with pytest.raises(DataError, match=r"^position 3 \(from 0\) holds 'C', .* alphabet \['ATG', 'GCC', "):
        CODONS.encode("ATGCC")


@pytest.mark.parametrize(
    ("alphabet", "text"),
    [
        (DNA, "ACgtRN"),
        (DNA, "A[MASK]C"),
        (CODONS, "ATGTAA[END]"),
        (GREEDY, "ABABCA"),
        (GREEDY, "ABAAB"),
        (DNA, ""),
    ],
)
def test_bytes_and_ascii_codes_read_as_the_text_does(alphabet: Alphabet, text: str) -> None:
    expected = alphabet.encode(text).tolist()

    assert alphabet.encode(text.encode()).tolist() == expected
    assert alphabet.encode(ascii_codes(text)).tolist() == expected
    for rows in ([text, text], (text.encode(), text), np.stack([ascii_codes(text)] * 2)):
        assert alphabet.encode(rows).tolist() == [expected, expected]
        assert alphabet.encode(rows).dtype == np.uint8


def test_an_array_of_texts_reads_as_their_list_does() -> None:
    assert DNA.encode(np.array(["ACG", "TTN"])).tolist() == [[0, 1, 2], [3, 3, 4]]
    assert DNA.encode(np.array([b"ACG", b"TTN"])).tolist() == [[0, 1, 2], [3, 3, 4]]
    assert DNA.encode([]).shape == (0, 0)


def test_rows_of_ascii_codes_are_read_each_for_itself() -> None:
    rows = np.stack([ascii_codes("A[MASK"), ascii_codes("]CGTAC")])
    with pytest.raises(DataError, match=r"^text 0 \(from 0\): position 1 \(from 0\) holds '\['"):
        DNA.encode(rows)


def test_texts_of_different_length_and_faults_within_texts_are_told() -> None:
    with pytest.raises(DataError, match="^texts of 2 to 3 tokens make no array"):
        DNA.encode(["AC", "ACG"])
    assert DNA.encode(["AC[MASK]", "ACG"]).shape == (2, 3)
    with pytest.raises(DataError, match=r"^text 1 \(from 0\): position 2 \(from 0\) holds 'E'"):
        DNA.encode(["ACG", "ACE"])


@pytest.mark.parametrize(
    ("letters", "what"),
    [
        (np.array([65, 67]), r"an array \(2,\) of int64"),
        (np.array([True, False]), r"an array \(2,\) of bool"),
        (np.array([65.0]), r"an array \(1,\) of float64"),
        (np.zeros((1, 2, 3), np.uint8), r"an array \(1, 2, 3\) of uint8"),
        (np.uint8(65), r"an array \(\) of uint8"),
    ],
)
def test_an_array_that_is_no_text_is_refused(letters: Any, what: str) -> None:
    with pytest.raises(DataError, match=f"^{what} is no text"):
        DNA.encode(np.asarray(letters))


def test_a_letter_that_is_not_in_ascii_can_be_a_token() -> None:
    alphabet = Alphabet("Aäß?")
    assert alphabet.encode("äAß?").tolist() == [1, 0, 2, 3]
    assert alphabet.decode(alphabet.encode("Aäß?")) == "Aäß?"
    with pytest.raises(DataError, match="position 1 .* holds '🧬'"):
        alphabet.encode("?🧬")


# Indexes to text.


def test_indexes_become_the_text_of_their_tokens() -> None:
    assert DNA.decode(np.array([3, 2, 1, 0, 4], dtype=np.uint8)) == "TGCAN"
    assert DNA.decode(np.array([0, 5, 3], dtype=np.uint8)) == "A[MASK]T"
    assert DNA.decode(np.array([[0, 1], [5, 4]], dtype=np.uint8)) == ["AC", "[MASK]N"]
    assert CODONS.decode(np.array([0, 2, 3], dtype=np.int64)) == "ATGTAA[END]"
    assert DNA.decode(DNA.encode("acgtryk")) == "ACGTNNN"
    assert DNA.decode(np.array([])) == ""
    assert DNA.decode(np.empty((2, 0), np.uint8)) == ["", ""]


@pytest.mark.parametrize("wrong", [6, 255, -1])
def test_an_index_without_a_token_is_refused(wrong: int) -> None:
    with pytest.raises(DataError, match=f"^the index {wrong} has no token: .* has 6$"):
        DNA.decode(np.array([0, wrong]))


@pytest.mark.parametrize("codes", [np.eye(4), np.zeros((2, 4, 3), np.uint8), np.array(3), np.array([True])])
def test_what_is_no_indexes_is_refused(codes: NDArray[Any]) -> None:
    with pytest.raises(DataError, match="is no indexes"):
        DNA.decode(codes)


@settings(deadline=None)
@given(alphabet=alphabets, data=st.data())
def test_what_is_decoded_encodes_to_the_same_indexes(alphabet: Alphabet, data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 4))
    width = data.draw(st.integers(0, 20))
    index = st.integers(0, len(alphabet) - 1)
    row = st.lists(index, min_size=width, max_size=width)
    codes = np.array(data.draw(st.lists(row, min_size=rows, max_size=rows)), dtype=np.uint8)

    texts = alphabet.decode(codes)

    assert texts == [alphabet.decode(row) for row in codes]
    assert np.array_equal(alphabet.encode(texts), codes)
    assert [alphabet.encode(text.encode()).tolist() for text in texts] == codes.tolist()


# The other strand.


def test_the_reverse_complement_is_the_other_strand_last_to_first() -> None:
    for text, other in [("AACGT", "ACGTT"), ("ANNG", "CNNT"), ("A[MASK]C", "G[MASK]T"), ("", "")]:
        assert DNA.decode(DNA.reverse_complement(DNA.encode(text))) == other
    rows = DNA.reverse_complement(DNA.encode(["AAC", "TGN"]))
    assert DNA.decode(rows) == ["GTT", "NCA"]


@settings(deadline=None)
@given(codes=st.lists(st.integers(0, 5), max_size=30))
def test_the_reverse_complement_of_the_reverse_complement_is_the_sequence(codes: list[int]) -> None:
    array = np.array(codes, dtype=np.uint8)
    assert DNA.reverse_complement(DNA.reverse_complement(array)).tolist() == codes


@pytest.mark.parametrize("complement", [{"A": "T", "C": "G"}, {"A": "C", "C": "G", "G": "A"}])
def test_a_complement_that_is_not_given_both_ways_is_refused(complement: dict[str, str]) -> None:
    with pytest.raises(DataError, match="^the complement of the complement of 'A' is another token"):
        Alphabet("ACGT", complement=complement)


# Alphabets of one's own.


def test_an_alphabet_of_ones_own_has_its_letters_in_the_order_given() -> None:
    protein = Alphabet("ARNDCQEGHILKMFPSTWYV", ["X"], synonyms=dict.fromkeys("BZ", "X"))
    assert protein.encode("ARvxB").tolist() == [0, 1, 19, 20, 20]
    assert protein.index("X") == 20
    with pytest.raises(DataError, match=r"position 1 \(from 0\) holds 'N'"):
        Alphabet("ACGT").encode("AN")


def test_control_tokens_are_added_in_a_new_alphabet() -> None:
    assert len(DNA) == 6
    assert (MARKED.index("[CLS]"), MARKED.index("[SEP]"), len(MARKED), MARKED.n_tokens) == (6, 7, 8, 4)
    assert (MARKED.empty, MARKED.mask) == (DNA.empty, DNA.mask)
    assert MARKED.encode("ACgtNR").tolist() == DNA.encode("ACgtNR").tolist()
    assert MARKED.decode(MARKED.reverse_complement(MARKED.encode("[CLS]AC"))) == "GT[CLS]"
    with pytest.raises(DataError, match="the tokens .* make no alphabet: each has to be there once"):
        DNA.add_control_tokens(["[MASK]"])


def test_lower_case_is_upper_case_unless_it_is_a_token_itself() -> None:
    soft = Alphabet("ACGTacgt")
    assert soft.encode("AaTt").tolist() == [0, 4, 3, 7]
    assert soft.decode(soft.encode("AaTt")) == "AaTt"
    assert Alphabet("aA").encode("aA").tolist() == [0, 1]
    assert Alphabet("ab").encode("ab").tolist() == [0, 1]
    with pytest.raises(DataError, match="holds 'A'"):
        Alphabet("ab").encode("A")


def test_a_synonym_is_another_spelling_and_a_token_stays_itself() -> None:
    stops = Alphabet(["A", "[STOP]"], synonyms={"*": "[STOP]", "[END]": "[STOP]"})
    assert stops.encode("A*[END][STOP]").tolist() == [0, 1, 1, 1]
    purine = DNA.add_control_tokens(["R"])
    assert purine.encode("ARrY").tolist() == [0, 6, 6, 4]


@pytest.mark.parametrize(
    ("tokens", "options", "message"),
    [
        ("AAC", {}, "each has to be there once"),
        (["A", ""], {}, "each has to be there once, none empty"),
        ("", {}, "from 1 to 254 of them"),
        ([str(number) for number in range(255)], {}, "from 1 to 254 of them"),
        ("AC", {"control_tokens": ["A"]}, "each has to be there once"),
        ("AC", {"empty": "N"}, "'N' is no token of"),
        ("AC", {"mask": "[MASK]"}, "'[MASK]' is no token of"),
        ("AC", {"complement": {"A": "T"}}, "'T' is no token of"),
        ("AC", {"synonyms": {"R": "N"}}, "'N' is no token of"),
        ("AC", {"synonyms": {"": "A"}}, "the synonym '' of 'A' is empty"),
    ],
)
def test_what_makes_no_alphabet_is_refused(tokens: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        Alphabet(tokens, **options)
    assert message in str(caught.value)


def test_as_many_tokens_as_there_are_indexes_make_an_alphabet() -> None:
    largest = Alphabet([f"<{number}>" for number in range(254)])
    assert largest.encode("<253><0>").tolist() == [253, 0]


def test_letter_codes_have_every_letter_of_ascii() -> None:
    assert DNA.letter_codes.shape == (256,)
    assert [DNA.letter_codes[ord(letter)] for letter in "AaTtNnRr"] == [0, 0, 3, 3, 4, 4, 4, 4]
    assert DNA.letter_codes[ord("[")] == UNKNOWN
    assert (DNA.letter_codes != UNKNOWN).sum() == 2 * len("ACGTNRYSWKMBDHV")


def test_alphabets_of_the_same_tokens_and_options_are_equal() -> None:
    assert Alphabet("ACGT") == Alphabet(list("ACGT"))
    assert hash(Alphabet("ACGT")) == hash(Alphabet(list("ACGT")))
    assert Alphabet("ACGT", ["N"]) != Alphabet("ACGTN")
    assert Alphabet("ACGT", ["N"], empty="N") != Alphabet("ACGT", ["N"])
    assert DNA != RNA
    assert DNA != "ACGT"
    assert pickle.loads(pickle.dumps(DNA)) == DNA
    assert pickle.loads(pickle.dumps(MARKED)).encode("[SEP]A").tolist() == [7, 0]
