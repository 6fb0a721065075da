"""What a run begins with: what a YAML experiment plans, the result directory, the command that goes on."""

import contextlib
import os
import shlex
import tempfile
from argparse import Namespace
from collections.abc import Iterator

from helixband.env import is_of_the_place, variables_read
from helixband.errors import UsageError
from helixband.files import absolute
from helixband.results.directory import Results
from helixband.run.context import Planned
from helixband.run.following import under_torchrun


def planned_by(args: Namespace) -> Planned | None:
    """What a YAML experiment plans, which sets flags that were not given; None where nothing is to run."""
    if not args.experiment:
        return Planned()
    try:
        from helixband.run.experiments import plan  # imports Hydra
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] in ("hydra", "omegaconf"):
            raise UsageError(
                f"--experiment: there is no {error.name}: pip install 'helixband[lightning]'"
            ) from error
        raise
    return plan(args)


def command_of(args: Namespace) -> str:
    """What goes on with a run that is stopped, for a shell in the same folder.

    One of several processes can be gone on with by any number of them.
    """
    # Another value of these is refused, and they may have been given for this command alone.
    given = {name: text for name, text in variables_read().items() if name in os.environ}
    assignments = [f"{name}={shlex.quote(text)}" for name, text in given.items() if not is_of_the_place(name)]
    return " ".join([*assignments, shlex.join(under_torchrun(args.command))])


@contextlib.contextmanager
def opened(args: Namespace) -> Iterator[Results]:
    """The result directory, locked; for --dry-run as it stands, and nothing is made where there is none."""
    path = absolute(args.result)
    if args.dry_run:
        with tempfile.TemporaryDirectory() as empty:
            results = Results(path if os.path.lexists(path) and not args.debug else empty)
            with results.only_read("a dry run writes nothing"):  # another run may be at work there
                yield results
        return
    results = Results(path)
    with results.locked():
        yield results.cleared_subdirectory("debug") if args.debug else results
