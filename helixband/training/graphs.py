"""CUDA graphs: computations that are recorded once, on tensors at fixed places, and replayed."""

from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


class CaptureError(Exception):
    """Why a computation cannot be captured, in words."""


def on_side_stream(compute: Callable[[], T], may_wait: bool = True) -> T:
    """What a computation gives on a stream of its own, as one that is to be recorded has to be tried.

    Unless it `may_wait`, raises `RuntimeError` where it waits for the device, which no graph can.
    """
    stream, before = torch.cuda.Stream(), torch.cuda.get_sync_debug_mode()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    torch.cuda.set_sync_debug_mode(before if may_wait else "error")
    try:
        with torch.cuda.stream(stream):
            return compute()
    finally:
        torch.cuda.set_sync_debug_mode(before)
        torch.cuda.current_stream().wait_stream(stream)  # what failed may be under way


def recorded(compute: Callable[[], T]) -> tuple[Callable[[], None], T]:
    """What replays a computation, and what it gives, in tensors that each replay fills anew.

    Raises what went wrong in it.
    """
    graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    try:
        with _Capture(graph, capture_error_mode="thread_local"):
            found = compute()
    except BaseException:
        torch.cuda.set_stream(before)
        _leave_capture()
        raise
    return graph.replay, found


class _Capture(torch.cuda.graph):
    """A capture that raises what its computation did, and not that the end of a failed capture fails, too."""

    def __exit__(self, *raised: object) -> None:
        try:
            super().__exit__(*raised)
        except Exception:
            if raised == (None, None, None):
                raise


def _leave_capture() -> None:
    """Have the GPU's generator draw again: torch leaves it as in a capture, where that has failed."""
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    generator.graphsafe_set_state(generator.clone_state())
