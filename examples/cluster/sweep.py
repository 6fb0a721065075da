"""Six trainings of `../function_regressor` as jobs: in Slurm where there is one, else as processes.

python sweep.py                                    # --partition debug --epochs 20
"""

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
EXPERIMENT = HERE.parent / "function_regressor"
sys.path[:0] = [str(ROOT), str(EXPERIMENT)]  # where Helixband is not installed

from hparams import Everything  # noqa: E402

from helixband.jobs import Command, Jobs, Shell, Slurm, grid  # noqa: E402
from helixband.jobs.status import OVER  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--partition", help="the partition of Slurm (default: Slurm's own)")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--units", type=int, nargs="+", default=[32, 64, 128])
    args = parser.parse_args()

    subprocess.run([sys.executable, "make_data.py"], cwd=EXPERIMENT, check=True)
    scheduler = (
        Slurm(partition=args.partition, time="30:00", memory="1G") if shutil.which("sbatch") else Shell()
    )
    jobs = Jobs(str(HERE / "out"), scheduler=scheduler)
    words = ["--model", str(EXPERIMENT / "named_model.py"), "--data", str(EXPERIMENT / "data")]
    base = Command.of(Everything(), [*words, "--cpu", "--eval", "--epoch", str(args.epochs)])
    commands = grid(base, hidden_units=args.units, lr=[1e-3, 3e-3])

    table = jobs.submit(commands, at_once=2)
    while not all(status.state in OVER for status in table):
        time.sleep(2)
        table = jobs.status()
    print(table, end="\n\n")
    print(jobs.collect(), end="")
    return 0 if all(status.state == "complete" for status in table) else 1


if __name__ == "__main__":
    sys.exit(main())
