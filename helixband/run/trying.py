"""Work that is tried before a training, and leaves no trace of itself."""

import contextlib
from collections.abc import Callable, Iterator

from helixband import randomness
from helixband.training import snapshot


@contextlib.contextmanager
def left_as_it_was(say: Callable[[str], None], tried: str, instead: str) -> Iterator[None]:
    """Around the tries: random numbers and what the definition holds are afterwards as before.

    What cannot be put back is said: it changed as `tried`, in words, and would not have with `instead`.
    """
    with randomness.unmoved():
        before, lost = snapshot.of_the_definition(), list[str]()
        try:
            yield
        finally:
            _, lost = before.put_back()
    if lost:
        say(
            f"note: {', '.join(lost)}: changed as {tried}, and too large to be put back; the results may be "
            f"others than with {instead}"
        )
