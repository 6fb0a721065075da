"""Jobs: command lines of main.py sent away, on this machine, over SSH, to Slurm, and seen at a glance.

    from helixband.jobs import Command, Jobs, Slurm, SshOs, grid

    jobs = Jobs(os=SshOs("login"), scheduler=Slurm(partition="gpu", time="4:00:00"))
    base = Command("first", ["--model", "def.py", "--data", "/scratch/me/data"])
    jobs.submit(grid(base, lr=[1e-3, 1e-4]), at_once=4)
    jobs.status()

A job is a folder: script, output, events, what it was made from, results. Nothing here needs torch, or loads
a definition. docs/jobs.md goes from a laptop to a cluster.
"""

from helixband.jobs.command import Command, changes, grid, sample
from helixband.jobs.job import Job
from helixband.jobs.jobs import Jobs
from helixband.jobs.schedulers import Scheduler, Shell
from helixband.jobs.slurm import Slurm
from helixband.jobs.ssh import SshOs
from helixband.jobs.status import Status, Table
from helixband.jobs.systems import Done, LocalOs, Os

__all__ = [
    "Command",
    "Done",
    "Job",
    "Jobs",
    "LocalOs",
    "Os",
    "Scheduler",
    "Shell",
    "Slurm",
    "SshOs",
    "Status",
    "Table",
    "changes",
    "grid",
    "sample",
]
