"""Inside a process that takes part in trainings of another: this module run with `-m`, by `companions.py`.

Its arguments are the port of the store, its number, and how many processes there are. The `Setup` comes on
the standard input, which is closed when process 0 is gone.
"""

import json
import os
import signal
import sys
import threading

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from helixband.definition import Definition
from helixband.search.executors.companions import LONGEST_STEP
from helixband.search.executors.followers import account_of, silent, take_part
from helixband.search.executors.process import Setup
from helixband.search.executors.worker import load
from helixband.training import processes
from helixband.training.processes import LONGEST, Processes


def main() -> None:
    """Take part in what process 0 gives, until it is gone or something fails."""
    port, rank, count = map(int, sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    setup = Setup(**json.loads(sys.stdin.buffer.readline()))
    threading.Thread(target=_end_with_process_0, daemon=True).start()
    store = TCPStore("127.0.0.1", port, is_master=False, timeout=LONGEST)
    ours = Processes(store, rank, count, ends_all=False, longest=LONGEST_STEP)
    definition: Definition | None = None
    with silent(), processes.taken(ours):
        try:
            trainer = load(setup)
            definition = trainer.definition
            while (work := ours.work()) is not None:
                ours.come()
                part, device = work
                with ours.connected(torch.device(device)):
                    take_part(definition, trainer.args, part)
        except BaseException as error:
            ours.tell(error, account_of(error, definition))
            os._exit(1)  # and closes the connections, on which the others wait


def _end_with_process_0() -> None:
    while os.read(0, 1 << 10):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
