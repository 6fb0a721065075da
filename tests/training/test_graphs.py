"""What is around the capture of a CUDA graph, with a stand-in for the GPU, whose streams have names.

Its end of a capture raises an error of its own, as that of torch does where anything in the capture failed.
"""

from typing import Any

import pytest
import torch
from test_packed import assert_alike, make

from helixband.training import graphs, tape
from helixband.training.fit import fit
from helixband.training.steps.block import Block
from helixband.training.steps.captured import Captured
from helixband.training.steps.eager import Eager

END = "operation failed due to a previous error during capture"


class Stream:
    """A stream that notes for which others it waits."""

    def __init__(self, name: str = "side") -> None:
        self.name, self.waits = name, list[str]()

    def wait_stream(self, other: "Stream") -> None:
        self.waits.append(other.name)


class GPU:
    """The current stream of a process, and what comes of the end of a capture."""

    def __init__(self) -> None:
        self.stream = self.first = Stream("first")
        self.mode: Any = 0
        self.error_at_end: Exception | None = None
        self.states_put_back = 0

    def set_stream(self, stream: Stream) -> None:
        self.stream = stream

    def set_mode(self, mode: Any) -> None:
        self.mode = mode

    def leave_capture(self) -> None:
        self.states_put_back += 1


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> GPU:
    """The stand-in, with which torch's own context managers work."""
    found = GPU()

    class Within:
        def __init__(self, stream: Stream) -> None:
            self.stream = stream

        def __enter__(self) -> None:
            self.before, found.stream = found.stream, self.stream

        def __exit__(self, *raised: object) -> None:
            found.stream = self.before

    class Graph:
        def capture_begin(self, **how: Any) -> None: ...

        def capture_end(self) -> None:
            if found.error_at_end is not None:
                raise found.error_at_end

        def replay(self) -> None: ...

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", Within)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: found.stream)
    monkeypatch.setattr(torch.cuda, "set_stream", found.set_stream)
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: found.mode)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", found.set_mode)
    for name in ("synchronize", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(torch._C, "_host_emptyCache", lambda: None, raising=False)
    monkeypatch.setattr(torch.cuda.graph, "default_capture_stream", Stream("capturing"))
    monkeypatch.setattr(graphs, "_leave_capture", found.leave_capture)
    return found


def fail_twice() -> None:
    try:
        raise KeyError("inner")
    except KeyError:
        raise torch.OutOfMemoryError("CUDA out of memory")  # noqa: B904


def test_a_computation_is_recorded_on_another_stream(gpu: GPU) -> None:
    _, found = graphs.recorded(lambda: gpu.stream.name)
    assert found == "capturing"
    assert gpu.stream is gpu.first
    assert gpu.states_put_back == 0


@pytest.mark.parametrize("end", [None, RuntimeError(END)])
def test_a_capture_that_fails_raises_what_went_wrong_on_the_stream_of_before(
    gpu: GPU, end: Exception | None
) -> None:
    gpu.error_at_end = end
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        graphs.recorded(fail_twice)
    assert gpu.stream is gpu.first
    assert gpu.states_put_back == 1


def test_a_capture_that_cannot_be_ended_says_so_on_the_stream_of_before(gpu: GPU) -> None:
    gpu.error_at_end = RuntimeError(END)
    with pytest.raises(RuntimeError, match=END):
        graphs.recorded(lambda: 1)
    assert gpu.stream is gpu.first
    assert gpu.states_put_back == 1


@pytest.mark.parametrize("error", [ValueError("no"), None])
def test_what_follows_waits_for_what_was_tried_on_a_stream_of_its_own(
    gpu: GPU, error: Exception | None
) -> None:
    def compute() -> str:
        if error is not None:
            raise error
        return f"{gpu.stream.name}, {gpu.mode}"

    if error is None:
        assert graphs.on_side_stream(compute, may_wait=False) == "side, error"
    else:
        with pytest.raises(ValueError, match="no"):
            graphs.on_side_stream(compute)
    assert gpu.stream is gpu.first
    assert gpu.first.waits == ["side"]
    assert gpu.mode == 0


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What blocks have of `graphs`, on a CPU that passes for a GPU: it replays the operators of a step."""
    found: list[str] = []

    def on_side_stream(compute: Any, may_wait: bool = True) -> Any:
        found.append("tried" if may_wait else "tried without waits")
        return compute()

    def recorded(compute: Any) -> Any:
        found.append("recorded")
        return tape.recorded(compute), None

    def recorder(block: Block, of_block: Any = Block._recorder) -> Any:
        block._pack.is_one_of_several = True  # as a tape needs it
        try:
            return of_block(block)
        finally:
            block._pack.is_one_of_several = False

    monkeypatch.setattr(Block, "_is_on_gpu", True)
    monkeypatch.setattr(Block, "_recorder", recorder)
    monkeypatch.setattr(graphs, "on_side_stream", on_side_stream)
    monkeypatch.setattr(graphs, "recorded", recorded)
    return found


def test_a_step_is_tried_without_waits_before_it_is_recorded(called: list[str]) -> None:
    alone, member = make(1), make(1)
    fit([alone], Eager())
    fit([member], Captured())
    assert called == ["tried", "tried without waits", "recorded", "tried"]
    assert [str(way) for way in member.record.ways] == ["captured"] * 3
    assert_alike(alone, member)


def test_a_step_that_waits_for_the_device_is_not_recorded(
    called: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_side_stream(compute: Any, may_wait: bool = True) -> Any:
        compute()
        if not may_wait:
            raise RuntimeError("called a synchronizing CUDA operation")

    monkeypatch.setattr(graphs, "on_side_stream", on_side_stream)
    told: list[str] = []
    fit([make(1)], Captured(None, lambda member, reason: told.append(reason)))
    assert called == []
    assert told == ["RuntimeError: called a synchronizing CUDA operation"]
