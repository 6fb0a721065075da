"""The processes of a search that begin to come up before the command has imported torch."""

import os
from argparse import Namespace

from helixband.env import number_of_processes
from helixband.run.values import AUTO
from helixband.search.executors.early import Early
from helixband.search.executors.local import thread_variables, threads_for


def early_workers(args: Namespace) -> Early:
    """Those that the flags ask for; none where the flags alone do not say whether there are, or how many."""
    workers = args.workers or 1
    is_local = not args.cluster and (args.workers or not args.trials_per_gpu)
    searches = args.hyper and not (args.dry_run or args.experiment) and number_of_processes() == 1
    if not (searches and is_local and _is_there(args.model)):
        return Early()
    if args.pack == AUTO or (workers == 1 and not isinstance(args.pack, int)):
        return Early()
    place = thread_variables(threads_for(workers)) | ({"CUDA_VISIBLE_DEVICES": ""} if args.cpu else {})
    return Early([place] * workers)


def _is_there(definition: str) -> bool:
    """Whether a definition is, and the folder of this process; else the command tells what is missing."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return os.path.exists(definition)
