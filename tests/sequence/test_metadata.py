"""Where windows are from, as numbers."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from helixband.errors import DataError
from helixband.sequence import metadata
from helixband.sequence.metadata import HeaderTable, header_hash

HASHES = {
    "": -5426141060434712860,
    "chr1": 6899636747270975892,
    "chr1 dna:chromosome": -3619087338835304379,
    "chrI:101-200(+)": 1665025298911100912,
    "é🧬": 8268452286053583873,
}
"""As `b2sum -l 64` has them, the bytes last to first."""


@pytest.mark.parametrize(("header", "expected"), HASHES.items())
def test_a_header_has_the_same_hash_everywhere(header: str, expected: int) -> None:
    assert header_hash(header) == expected


def test_a_header_has_the_same_hash_in_every_process() -> None:
    script = "from helixband.sequence.metadata import header_hash; print(header_hash('chr1'))"
    for seed in ("0", "1"):
        command = [sys.executable, "-c", script]
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert int(answer.stdout) == HASHES["chr1"]


def test_a_table_has_the_hash_of_each_header_and_the_way_back() -> None:
    headers = ["chr1 dna:chromosome", "", "chr1"]
    table = HeaderTable(headers)
    assert table.hashes.dtype == np.int64
    assert table.hashes.tolist() == [HASHES[header] for header in headers]
    assert [table.header(code) for code in table.hashes] == headers
    assert table.header(int(table.hashes[2])) == "chr1"
    assert HeaderTable([]).hashes.shape == (0,)


@given(headers=st.lists(st.text(st.characters(codec="utf-8"))))
def test_every_header_comes_back(headers: list[str]) -> None:
    table = HeaderTable(headers)
    assert [table.header(code) for code in table.hashes.tolist()] == headers


def test_the_full_header_counts_and_not_the_name_alone() -> None:
    one, two = HeaderTable(["chr1 a", "chr1 b"]).hashes
    assert one != two


def test_a_hash_of_no_header_is_refused() -> None:
    with pytest.raises(DataError, match="^no header has the hash 5; was it made from another file"):
        HeaderTable(["chr1"]).header(5)


def test_two_headers_of_one_hash_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "header_hash", len)
    assert HeaderTable(["a", "bc", "a"]).hashes.tolist() == [1, 2, 1]
    with pytest.raises(DataError, match="^the headers 'a' and 'b' have the same hash; rename one$"):
        HeaderTable(["a", "xy", "b"])
