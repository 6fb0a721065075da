"""Makes tests/jobs/states anew: the files of a real job in each state.

    python tests/jobs/make_states.py

It needs a Slurm of one node with two CPUs, whose partition `urgent` preempts others: SLURM_CONF names it.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from jobs_toys import command, shell, slurm, until  # noqa: E402

from helixband.jobs import Command, Jobs  # noqa: E402
from helixband.jobs.status import OVER  # noqa: E402

KEPT = ("job.json", "job.events", "job.out", "job.err")


def main() -> None:
    target = HERE / "states"
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        make()
        kept = shutil.copytree("out/def", "kept", symlinks=True)
        Jobs().cancel(["running", "submitted"])
        shutil.rmtree(target, ignore_errors=True)
        for folder in sorted(Path(kept).iterdir()):
            made = target / "def" / folder.name / "version_1"
            made.mkdir(parents=True)
            for name in KEPT:
                source = folder / "version_1" / name
                if source.exists():
                    text = source.read_text().replace(place, "/place").replace(os.uname().nodename, "node1")
                    text = re.sub(r"/\S*/slurm_script", "slurm_script", text)
                    (made / name).write_text(text)


def make() -> None:
    """A job in each state, below out/def."""
    here = Path.cwd()
    processes, cluster = Jobs(scheduler=shell(here)), Jobs(scheduler=slurm(here, cpus=2, requeue=False))
    urgent = Jobs(scheduler=slurm(here, cpus=2, partition="urgent"))
    jobs = Jobs()
    jobs.create(do("", "created"))
    for name, what in (("complete", ""), ("error", "fail"), ("memory", "die")):
        cluster.submit(do(what, name), wait=0)
        until(lambda name=name: jobs.status(name), lambda status: status.state in OVER)  # type: ignore[misc]
    begin(cluster, "preempted")
    urgent.submit(do("", "urgent"), wait=0)
    until(lambda: jobs.status("urgent"), lambda status: status.state in OVER)
    shutil.rmtree("out/def/urgent")
    begin(cluster, "scancel")
    tell("scancel", id_of(jobs, "scancel"))
    until(lambda: jobs.status("scancel"), lambda status: status.state in OVER)
    begin(cluster, "timeout")
    tell("scontrol", "update", f"jobid={id_of(jobs, 'timeout')}", "EndTime=now+1")
    until(lambda: jobs.status("timeout"), lambda status: status.state in OVER, 120)
    begin(cluster, "running")
    cluster.submit(do("", "submitted"), wait=0)
    cluster.submit(do("", "cancelled"), wait=0)
    jobs.cancel("cancelled")
    begin(processes, "lost")
    [lost] = jobs.status("lost")
    os.kill(lost.pid or 0, 9)
    os.kill(int(Path("out/def/lost/version_1/results/waits").read_text()), 9)


def do(what: str, name: str) -> Command:
    return command(Path.cwd(), name, "--set", f"do={what}")


def begin(jobs: Jobs, name: str) -> None:
    """Submit a job that waits, and wait until it runs."""
    jobs.submit(do("wait", name), wait=0)
    until(lambda: jobs.status(name), lambda status: Path(f"out/{status.job}/results/waits").exists())


def id_of(jobs: Jobs, name: str) -> str:
    return jobs.find(name)[0].ids[-1]


def tell(*argv: str) -> None:
    subprocess.run(argv, check=True)


if __name__ == "__main__":
    main()
