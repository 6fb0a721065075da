"""Weights are read from files of all usual kinds, without running code; what holds none is told."""

import argparse
import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helixband.errors import UsageError
from helixband.results import checkpoints
from helixband.training.weights import read_weights

WEIGHT = torch.arange(6.0).reshape(2, 3)
STATE = {"conv.weight": WEIGHT, "conv.bias": torch.tensor([1.0, 2.0])}


def safetensors(tensors: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    """A file of safetensors, as its description has it: the length of the header, the header, the bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, (kind, shape, content) in tensors.items():
        offsets = [len(data), len(data) + len(content)]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": offsets}
        data += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


FILE = safetensors(
    {
        "conv.weight": ("F32", [2, 3], struct.pack("<6f", 0, 1, 2, 3, 4, 5)),
        "half": ("F16", [2], struct.pack("<2e", 0.5, -2)),
        "brain": ("BF16", [1], struct.pack("<H", 0x3FC0)),
        "count": ("I64", [], struct.pack("<q", 7)),
        "mask": ("BOOL", [2], b"\1\0"),
        "none": ("F32", [0, 4], b""),
    }
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights"


def read(path: Path, trusted: bool = False) -> Any:
    return read_weights(str(path), f"--load-checkpoint {path}", trusted)


def refuses(path: Path, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"--load-checkpoint {path}")


def equal(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return list(tensors) == list(expected) and all(map(torch.equal, tensors.values(), expected.values()))


LIGHTNING = {"epoch": 3, "pytorch-lightning_version": "2.4.0", "state_dict": STATE, "optimizer_states": [{}]}
TRAINING = {"epoch": 3, "model_state_dict": STATE, "optimizer_state_dict": {"state": {0: {"m": WEIGHT}}}}
KINDS = {
    "a state_dict": STATE,
    "a checkpoint of Lightning": LIGHTNING,
    "a checkpoint with the entry model_state_dict": TRAINING,
    "a checkpoint with the entry model": {"model": STATE, "step": torch.tensor(5)},
    "a checkpoint with the entry weights": {"weights": STATE, "epoch": 3},
}


@pytest.mark.parametrize("old", [True, False], ids=["of torch before 1.6", "an archive"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_in_a_file_of_torch_are_found(path: Path, kind: str, old: bool) -> None:
    torch.save(KINDS[kind], path, _use_new_zipfile_serialization=not old)
    found = read(path)
    assert found.kind == kind
    assert equal(found.tensors, STATE)


def test_of_a_checkpoint_of_ours_the_network_is_read(path: Path) -> None:
    checkpoints.save(path, {"epoch": 3, "network": STATE, "criterion": {"weight": WEIGHT}})
    assert read(path).kind == "a checkpoint of Helixband"
    assert equal(read(path).tensors, STATE)


def test_safetensors_are_read(path: Path) -> None:
    path.write_bytes(FILE)
    found = read(path)
    assert found.kind == "safetensors"
    assert equal(
        {name: found.tensors[name] for name in ("conv.weight", "half", "brain", "count", "mask", "none")},
        {
            "conv.weight": WEIGHT,
            "half": torch.tensor([0.5, -2], dtype=torch.float16),
            "brain": torch.tensor([1.5], dtype=torch.bfloat16),
            "count": torch.tensor(7),
            "mask": torch.tensor([True, False]),
            "none": torch.empty(0, 4),
        },
    )
    assert [found.tensors[name].dtype for name in ("half", "brain", "count")] == [
        torch.float16,
        torch.bfloat16,
        torch.int64,
    ]


def test_the_digest_is_that_of_the_file(path: Path) -> None:
    path.write_bytes(FILE)
    assert read(path).sha256 == hashlib.sha256(FILE).hexdigest()


# Code.


class Code:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("old", [True, False])
def test_code_is_refused_and_does_not_run(path: Path, tmp_path: Path, old: bool) -> None:
    content = {**LIGHTNING, "callbacks": Code(tmp_path / "proof")}
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    refuses(path, r"holds (posix\.)?mkdir, which can only be read by running code.* --trust-checkpoint")
    assert not (tmp_path / "proof").exists()


def test_a_file_that_is_trusted_may_run_code(path: Path) -> None:
    torch.save({**LIGHTNING, "hyper_parameters": argparse.Namespace(lr=0.1)}, path)
    refuses(path, r"holds argparse\.Namespace, which can only be read by running code")
    assert equal(read(path, trusted=True).tensors, STATE)


def test_a_whole_module_is_read_if_it_is_trusted(path: Path) -> None:
    module = nn.Linear(3, 2)
    torch.save(module, path)
    refuses(path, "--trust-checkpoint")
    assert equal(read(path, trusted=True).tensors, dict(module.state_dict()))


def test_what_a_trusted_file_raises_is_told(path: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    torch.save({"model": Code(tmp_path / "there")}, path)
    with pytest.raises(UsageError, match="cannot be read: FileExistsError"):
        read(path, trusted=True)


# What holds no weights.


def test_a_missing_file_is_told(path: Path) -> None:
    refuses(path, "does not exist$")


def test_a_folder_is_told_with_a_file_in_it(path: Path) -> None:
    path.mkdir()
    refuses(path, "is a directory; give a file$")
    (path / "checkpoints").mkdir()
    (path / "checkpoints" / "best.pt").touch()
    refuses(path, f"is a directory; give a file, such as {path}/checkpoints/best.pt$")


def test_a_pipe_is_told(path: Path) -> None:
    os.mkfifo(path)
    refuses(path, "is no file but a pipe")


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"epoch,loss\n1,2\n", b"\x89HDF\r\n\x1a\n", b"{}", b"\x80\x04K\x01."]
)
def test_a_file_of_another_kind_is_told(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    refuses(path, "is damaged or no checkpoint")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list"),
        (WEIGHT, "holds a Tensor"),
        ({}, r"it has nothing\."),
        ({"epoch": 3, "loss": 0.5}, r"it has epoch, loss\. Save the state_dict"),
        ({"encoder": STATE, "decoder": STATE}, r"has no weights under a name .* it has encoder, decoder\."),
    ],
)
def test_a_file_without_weights_is_told(path: Path, content: Any, message: str) -> None:
    torch.save(content, path)
    refuses(path, message)


def test_a_damaged_file_is_told(path: Path) -> None:
    torch.save({"weight": torch.arange(1000.0)}, path)
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:2000])
    refuses(path, "is damaged or no checkpoint")
    content[2000] ^= 1
    path.write_bytes(content)
    refuses(path, "is damaged or no checkpoint .*is not as it was written")


def test_a_newer_format_of_ours_is_told(path: Path) -> None:
    torch.save({"format": checkpoints.FORMAT + 1, "network": STATE}, path)
    refuses(path, f"has format {checkpoints.FORMAT + 1}; this version reads up to {checkpoints.FORMAT}")


WRONG_SAFETENSORS = {
    "cut short": FILE[:-1],
    "cut in its header": FILE[:40],
    "longer": FILE + b"\0",
    "no JSON": struct.pack("<Q", 4) + b"{abc",
    "a list": struct.pack("<Q", 2) + b"[]",
    "another size": safetensors({"a": ("F32", [3], b"12345678")}),
    "a negative size": safetensors({"a": ("F32", [-1, -2], b"12345678")}),
    "another type": safetensors({"a": ("F3", [2], b"1")}),
    "no type": struct.pack("<Q", 30) + b'{"a":{"data_offsets":[0,0]}}  ',
}


@pytest.mark.parametrize("name", WRONG_SAFETENSORS)
def test_a_damaged_file_of_safetensors_is_told(path: Path, name: str) -> None:
    path = path.with_suffix(".safetensors")
    path.write_bytes(WRONG_SAFETENSORS[name])
    refuses(path, "is a damaged file of safetensors, or none: ")


def test_a_file_of_safetensors_without_tensors_is_told(path: Path) -> None:
    path.write_bytes(safetensors({}))
    refuses(path, "holds no tensor")


def test_the_name_of_a_file_does_not_matter(path: Path) -> None:
    path.write_bytes(FILE)
    path = path.rename(path.with_suffix(".pt"))
    assert read(path).kind == "safetensors"
