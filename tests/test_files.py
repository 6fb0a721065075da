"""Files: written whole, found by name or glob, in natural order."""

import errno
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from helixband.errors import DataError, StorageError
from helixband.files import (
    Checksums,
    absolute,
    append,
    collapsed,
    matching_files,
    natural_key,
    read_document,
    read_json,
    write_document,
    write_json,
    write_together,
    write_whole,
    writing,
    writing_whole,
)

# Writing and reading back.


@pytest.mark.parametrize("content", ["text é\n", b"bytes\x00", memoryview(b"view"), ""])
def test_a_file_is_replaced_by_the_whole_of_its_new_content(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "new" / "folder" / "file"
    write_whole(path, "something longer that was there before")
    write_whole(path, content)
    expected = content.encode() if isinstance(content, str) else bytes(content)
    assert path.read_bytes() == expected
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("seconds", [0.0, 0.002], ids=["a quick disk", "a slow disk"])
def test_files_that_are_written_together_are_all_synced_before_the_first_is_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    places = [tmp_path / name for name in "abc"]
    synced: list[tuple[int, bool]] = []

    def fsync(file: int) -> None:
        time.sleep(seconds)
        synced.append((os.fstat(file).st_ino, any(place.exists() for place in places)))

    monkeypatch.setattr(os, "fsync", fsync)
    for number in range(2):  # how the disk is, is known from the second time on
        write_together({place: memoryview(b"%d" % number) for place in places})
        assert {inode for inode, _ in synced} == {place.stat().st_ino for place in places}
        assert not any(was_there for _, was_there in synced)
        assert [place.read_bytes() for place in places] == [b"%d" % number] * 3
        synced.clear()
        for place in places:
            place.rename(place.with_suffix(f".{number}"))


@pytest.mark.parametrize("is_quick", [True, False])
def test_a_file_that_cannot_be_synced_leaves_all_of_them_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_quick: bool
) -> None:
    places = [tmp_path / name for name in "abc"]
    write_together({place: memoryview(b"before") for place in places})
    calls: list[int] = []

    def fsync(file: int) -> None:
        calls.append(file)
        if len(calls) == 3:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("helixband.files.writing._is_quick", is_quick)
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match="Input/output error"):
        write_together({place: memoryview(b"after") for place in places})
    assert [place.read_bytes() for place in places] == [b"before"] * 3
    assert sorted(tmp_path.iterdir()) == places


def test_a_reader_of_the_old_file_goes_on_reading_it(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "old")
    with open(tmp_path / "a") as file:
        write_whole(tmp_path / "a", "new")
        assert file.read() == "old"
    assert (tmp_path / "a").read_text() == "new"


def test_what_an_interrupted_writer_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".a.tmp").write_text("half of someth")
    write_whole(tmp_path / "a", "whole")
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_of_thousands_of_files_is_not_looked_through_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "SMALL_FOLDER", 20)
    looked: list[int] = []

    def scandir(path: Any) -> Any:
        looked.append(len(os.listdir(path)))
        return original(path)

    original = os.scandir
    monkeypatch.setattr(writing.os, "scandir", scandir)
    for number in range(200):
        write_whole(tmp_path / str(number), "", sync=False)
    assert sum(looked) < 20 * 200  # and not 200 * 100
    assert looked[:20] == list(range(20))


def test_a_folder_in_the_place_of_the_file_is_told_and_stays(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(StorageError, match=f"cannot write {tmp_path}/a: Is a directory"):
        write_whole(tmp_path / "a", "content")
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file")
    with pytest.raises(StorageError, match=f"cannot write {tmp_path}/a/b: "):
        write_whole(tmp_path / "a" / "b", "content")
    assert (tmp_path / "a").read_text() == "a file"


def test_json_comes_back_and_reads_well(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, 0.5, None], "a": "é"})
    assert read_json(tmp_path / "a.json") == {"b": [1, 0.5, None], "a": "é"}
    assert (tmp_path / "a.json").read_text().endswith("\n}\n")


def test_a_number_that_json_does_not_have_is_an_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert read_json(tmp_path / "a.json") == 1


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_a_file_that_is_not_json_is_told_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(StorageError, match=f"{tmp_path}/a.json is not JSON"):
        read_json(tmp_path / "a.json")


def test_a_missing_json_file_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=f"cannot read {tmp_path}/a.json: No such file"):
        read_json(tmp_path / "a.json")


# Finding.


def test_natural_order_counts_numbers_as_numbers() -> None:
    names = ["b10", "b9.h5", "a", "b2", "10a", "9a", "b2.10", "b2.9", ""]
    expected = ["", "9a", "10a", "a", "b2", "b2.9", "b2.10", "b9.h5", "b10"]
    assert sorted(names, key=natural_key) == expected


@settings(deadline=None)
@given(names=st.lists(st.text()))
def test_any_names_can_be_put_in_natural_order(names: list[str]) -> None:
    assert sorted(sorted(names, key=natural_key)) == sorted(names)


def test_a_glob_gives_its_files_in_natural_order(tmp_path: Path) -> None:
    for name in ("x.batch10", "x.batch2", "x.batch1", "y"):
        (tmp_path / name).touch()
    found = matching_files(f"{tmp_path}/x.batch*")
    assert found == [f"{tmp_path}/x.batch{number}" for number in (1, 2, 10)]


def test_a_file_of_that_very_name_is_not_a_glob(tmp_path: Path) -> None:
    for name in ("a[1].fa", "a1.fa", "b?", "bb"):
        (tmp_path / name).touch()
    assert matching_files(f"{tmp_path}/a[1].fa") == [f"{tmp_path}/a[1].fa"]
    assert matching_files(f"{tmp_path}/b?") == [f"{tmp_path}/b?"]
    assert matching_files(f"{tmp_path}/a[12].fa") == [f"{tmp_path}/a1.fa"]


@pytest.mark.parametrize("pattern", ["missing.h5", "*.h5", ""])
def test_a_pattern_that_matches_nothing_is_told_with_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        matching_files(pattern)
    assert str(caught.value) == f"no file matches {pattern!r} (from the folder {tmp_path})"


# Paths through symbolic links.


@pytest.fixture
def linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """project/data -> store/run1, so that project/data/.. is store."""
    for folder in ("store/run1/sub", "project"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "project/data").symlink_to("../store/run1")
    for place in ("store", "project"):
        (tmp_path / place / "x.fa").write_text(place)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "short"),
    [
        ("project/data/../x.fa", "project/data/../x.fa"),
        ("project/data/sub/../../x.fa", "project/data/sub/../../x.fa"),
        ("project/data/sub/../x.fa", "project/data/x.fa"),
        ("store/run1/../x.fa", "store/x.fa"),
        ("store/new/../x.fa", "store/x.fa"),
        ("./project//x.fa", "project/x.fa"),
        ("..", ".."),
    ],
)
def test_a_path_is_shortened_where_it_leads_to_the_same_place(linked: Path, path: str, short: str) -> None:
    assert collapsed(path) == short


def test_a_path_from_the_root_holds_after_a_change_of_folder(
    linked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [absolute(path) for path in ("project/x.fa", "store/../store/x.fa", "project/data/../x.fa")]
    monkeypatch.chdir("/")
    assert places[:2] == [f"{linked}/project/x.fa", f"{linked}/store/x.fa"]
    assert [Path(place).read_text() for place in places] == ["project", "store", "store"]


@pytest.mark.parametrize("pattern", ["../x.fa", "../x.f*", "../[x].fa"])
def test_what_lies_above_a_link_is_found_where_the_system_finds_it(linked: Path, pattern: str) -> None:
    for found in (matching_files(f"project/data/{pattern}"), matching_files(pattern, "project/data")):
        assert [Path(path).read_text() for path in found] == ["store"]


# Read back, and names that nobody can guess.


def test_checksums_are_of_blocks_however_the_bytes_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "CHECKED_BYTES", 4)
    for pieces in ([b"abcdefghij"], [b"abc", b"defgh", b"", b"ij"], [b"abcd", b"efgh", b"ij"]):
        sums = Checksums()
        for piece in pieces:
            sums.add(piece)
        assert (sums.size, sums.blocks()) == (10, [zlib.crc32(part) for part in (b"abcd", b"efgh", b"ij")])


@pytest.mark.parametrize("size", [0, 1, 4, 9])
@pytest.mark.parametrize("sync", [True, False])
def test_a_disk_that_does_not_hold_what_was_written_is_told_and_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, sync: bool
) -> None:
    monkeypatch.setattr(writing, "CHECKED_BYTES", 4)
    write_whole(tmp_path / "a", "old")
    content = b"x" * (size - 1) + b"?"
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", lambda _, count, start: content[start : start + count])
        with pytest.raises(StorageError) as caught:
            write_whole(tmp_path / "a", b"x" * size, sync)
    assert str(caught.value) == (
        f"cannot write {tmp_path}/a: what is read back is not what was written; the disk may be faulty; "
        "what was there before is unchanged"
    )
    assert (os.listdir(tmp_path), (tmp_path / "a").read_text()) == (["a"], "old")
    write_whole(tmp_path / "a", b"x" * size, sync)
    assert (tmp_path / "a").read_bytes() == b"x" * size


def test_two_that_write_one_file_at_once_both_succeed(tmp_path: Path) -> None:
    with writing_whole(tmp_path / "a") as first, writing_whole(tmp_path / "a") as second:
        first.write(b"first")
        second.write(b"second")
    assert (os.listdir(tmp_path), (tmp_path / "a").read_text()) == (["a"], "first")


def test_a_name_on_the_way_cannot_be_guessed_and_is_made_by_its_writer(tmp_path: Path) -> None:
    names = set()
    for _ in range(20):
        with writing_whole(tmp_path / "a"):
            names |= set(os.listdir(tmp_path)) - {"a"}
    assert len(names) == 20


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    write = "from helixband.files import writing_whole\nwith writing_whole('a') as file:\n"
    write += "    file.write(b'half'), file.flush(), print(flush=True), input()\n"
    with subprocess.Popen(
        [sys.executable, "-c", write], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as writer:  # fmt: skip
        assert writer.stdout is not None and writer.stdout.readline() == b"\n"
        half = os.listdir(tmp_path)
        write_whole(tmp_path / "a", "new")
        assert sorted(os.listdir(tmp_path)) == sorted([*half, "a"])
        writer.kill()
    write_whole(tmp_path / "a", "newer")
    assert os.listdir(tmp_path) == ["a"]


def test_what_is_added_is_read_back_or_taken_away_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(tmp_path / "new" / "a", b"one")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", lambda *_: b"tw?")
        with pytest.raises(StorageError, match=f"cannot write {tmp_path}/new/a: what is read back is not"):
            append(tmp_path / "new" / "a", b"two")
    append(tmp_path / "new" / "a", memoryview(b"three"))
    assert (tmp_path / "new" / "a").read_text() == "onethree"


@pytest.mark.parametrize(
    ("content", "whole"),
    [
        ('{"a": [1.5, {"b": null}], "checksum": 12}', False),
        ('{"a": [1.5, {"b": null}]}', True),  # as earlier versions wrote it
        ("[1]", False),
    ],
)
def test_a_document_is_as_it_was_written_or_refused(tmp_path: Path, content: str, whole: bool) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    if whole:
        assert read_document(path) == {"a": [1.5, {"b": None}]}
    else:
        with pytest.raises(StorageError, match=f"{path} is not as it was written"):
            read_document(path)


def test_a_document_comes_back_without_its_checksum(tmp_path: Path) -> None:
    document = {"b": {1: 0.1 + 0.2, 10: "é", 2: (1, 2)}, "a": None}
    write_document(tmp_path / "a.json", document)
    assert read_document(tmp_path / "a.json") == {"b": {"1": 0.1 + 0.2, "10": "é", "2": [1, 2]}, "a": None}
    assert list(read_json(tmp_path / "a.json")) == ["b", "a", "checksum"]
