"""Checkpoints: whole or absent, and read without running code."""

import errno
import fcntl
import os
import pickle
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helixband.errors import StorageError
from helixband.results import checkpoints
from helixband.results.directory import Results

CONTENT = {"epoch": 3, "reward": -0.5, "network": {"weight": torch.arange(100.0)}, "history": [{"loss": 1.5}]}


def refuses(path: Path, message: str) -> None:
    with pytest.raises(StorageError, match=message) as caught:
        checkpoints.load(path)
    assert str(path) in str(caught.value)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    checkpoints.save(tmp_path / "deep" / "a.pt", CONTENT)
    loaded = checkpoints.load(tmp_path / "deep" / "a.pt")
    assert loaded.pop("format") == checkpoints.FORMAT
    assert loaded.pop("network")["weight"].equal(torch.arange(100.0))
    assert loaded == {"epoch": 3, "reward": -0.5, "history": [{"loss": 1.5}]}


# Whole or absent.


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A checkpoint of epoch 3."""
    checkpoints.save(tmp_path / "a.pt", CONTENT)
    return tmp_path / "a.pt"


def fails_and_leaves(old: Path) -> None:
    content = old.read_bytes()
    with pytest.raises(StorageError, match=f"cannot write {old}: .*; what was there before is unchanged"):
        checkpoints.save(old, {**CONTENT, "epoch": 4})
    assert os.listdir(old.parent) == [old.name]
    assert old.read_bytes() == content


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_else(
    old: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        fails_and_leaves(old)


def test_a_write_that_ends_half_way_leaves_the_old_checkpoint_and_nothing_else(old: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write then fails as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (old.stat().st_size // 2, limits[1]))
    try:
        fails_and_leaves(old)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match=f"cannot write {tmp_path}/checkpoints/last.pt"):
        checkpoints.save(tmp_path / "checkpoints" / "last.pt", CONTENT)


def test_what_cannot_be_pickled_leaves_the_old_checkpoint(old: Path) -> None:
    with pytest.raises(StorageError, match="a state in it cannot be stored: .*lambda"):
        checkpoints.save(old, {"function": lambda: 0})
    assert checkpoints.load(old)["epoch"] == 3
    assert os.listdir(old.parent) == [old.name]


# What is refused.


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    refuses(tmp_path / "a.pt", "No such file")


@settings(deadline=None, max_examples=30)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_checkpoint_that_is_cut_short_is_refused(
    tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.pt"
    checkpoints.save(path, CONTENT)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refuses(path, "is damaged or no checkpoint")


def test_torch_reads_a_checkpoint_as_it_is(old: Path) -> None:
    assert torch.load(old, weights_only=True)["network"]["weight"].equal(torch.arange(100.0))


def without_digest(path: Path) -> bytes:
    """A checkpoint as earlier versions wrote it."""
    content = path.read_bytes()
    assert content[-71:].startswith(b"sha256:") and content[-73:-71] == (71).to_bytes(2, "little")
    return content[:-73] + b"\0\0"


def test_a_checkpoint_without_a_digest_is_loaded(old: Path) -> None:
    old.write_bytes(without_digest(old))
    assert checkpoints.load(old)["epoch"] == 3


@pytest.mark.parametrize("digest", [True, False])
def test_a_part_that_is_marked_as_a_folder_is_refused(old: Path, digest: bool) -> None:
    content = bytearray(old.read_bytes() if digest else without_digest(old))
    place = content.rindex(b"archive/data/0") - 46  # the entry of the weights in the directory of the archive
    assert content[place : place + 4] == b"PK\1\2"
    content[place + 38] ^= 0x10
    old.write_bytes(content)
    refuses(old, "is damaged or no checkpoint")


def test_every_byte_counts(old: Path) -> None:
    content = bytearray(old.read_bytes())
    for place in range(0, len(content) - 71, 7):  # the digest itself begins there
        content[place] ^= 1
        old.write_bytes(content)
        refuses(old, "is damaged or no checkpoint")
        content[place] ^= 1


@settings(deadline=None, max_examples=100)
@given(place=st.integers(0, 100_000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed_wherever_it_matters(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    path = tmp_path_factory.mktemp("flipped") / "a.pt"
    checkpoints.save(path, CONTENT)
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        loaded = checkpoints.load(path)
    except StorageError as error:
        assert str(path) in str(error)
    else:
        assert loaded["network"]["weight"].equal(torch.arange(100.0))
        assert loaded["epoch"] == 3


@pytest.mark.parametrize("content", [b"", b"epoch,loss\n", pickle.dumps({"format": 1})])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    refuses(tmp_path / "a.pt", "is damaged or no checkpoint")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    refuses(tmp_path, "Is a directory")


@pytest.mark.parametrize("content", [{"weight": torch.zeros(2)}, [1, 2], torch.zeros(2), {"format": "new"}])
def test_a_torch_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.pt")
    refuses(tmp_path / "a.pt", "is a torch file, but no Helixband checkpoint")


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    torch.save({"format": checkpoints.FORMAT + 1}, tmp_path / "a.pt")
    refuses(tmp_path / "a.pt", "has format 2; this version reads up to 1")


class Code:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path: Path) -> None:
    torch.save({"format": 1, "network": Code(tmp_path / "proof")}, tmp_path / "a.pt")
    refuses(tmp_path / "a.pt", "it holds more than tensors, numbers, strings and containers of them")
    assert not (tmp_path / "proof").exists()


def test_what_a_killed_process_left_of_an_epoch_goes_with_the_epoch(tmp_path: Path) -> None:
    trial = Results(tmp_path).trial("0000")
    folder = trial.last_checkpoint.parent
    folder.mkdir(parents=True)
    names = ["last.pt", ".last.pt.a1.tmp"]
    names += [name for epoch in "239" for name in (f"epoch-000{epoch}.pt", f".epoch-000{epoch}.pt.a1.tmp")]
    for name in names:
        (folder / name).write_bytes(b"")
    with open(folder / ".epoch-0002.pt.a1.tmp") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # another process is writing it
        trial.forget_epochs(3)
    kept = [".epoch-0002.pt.a1.tmp", ".epoch-0009.pt.a1.tmp", ".last.pt.a1.tmp", "epoch-0009.pt", "last.pt"]
    assert sorted(path.name for path in folder.iterdir()) == kept
