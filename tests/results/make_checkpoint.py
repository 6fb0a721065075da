"""Makes the checkpoints of the format that this version writes, for the tests of all later versions.

    python tests/results/make_checkpoint.py

writes tests/results/formats/<format>/: the folder of a training of two epochs, and in `expected.json` what it
predicts and how it goes on. What is there stays: run it once, when the format has a new number.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

import numpy as np  # noqa: E402

from helixband.results import checkpoints  # noqa: E402
from helixband.run import command  # noqa: E402

FORMATS = HERE / "formats"

DEFINITION = """\
import numpy as np
import torch
from torch import nn, optim

from helixband import MatrixBatchGenerator, RegressionModel
from helixband.training.schedules import ExponentialSchedule

X = np.random.default_rng(0).random((40, 4), dtype=np.float32)
Y = X.sum(1)


class Noisy:
    def __iter__(self):
        for start in np.random.permutation(4) * 10:
            yield X[start:start + 10] + np.float32(0.01) * np.random.random(), Y[start:start + 10]


def get_train_generator(data_dir, batch_size):
    return Noisy(), MatrixBatchGenerator(X[:20], Y[:20])


def get_pred_generator(pred_path):
    return MatrixBatchGenerator(X[20:])


def get_config():
    return {"decay": ExponentialSchedule(start=0.01, factor=0.99, unit="step"), "units": 4}


class Model(RegressionModel):
    def init_model(self):
        units = self.config["units"]
        layers = nn.Linear(4, units), nn.BatchNorm1d(units), nn.Dropout(0.2), nn.Linear(units, 1)
        network = nn.Sequential(*layers)
        self.scale = nn.Parameter(torch.ones(1))
        self.batches = 0
        parameters = [*network.parameters(), self.scale]
        optimizer = optim.Adam(parameters, lr=0.01, weight_decay=self.config["decay"])
        scheduler = optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        super().init_model(network, optimizer=optimizer, scheduler=scheduler)

    def compute_loss(self, y_pred_loss, y):
        self.batches += 1
        return super().compute_loss(y_pred_loss * self.scale, y)
"""
"""Batch statistics, dropout, an optimizer and a scheduler with states, and what a user keeps on the model."""

EPOCHS = 2, 4
"""Of the training that is kept, and of the one that goes on."""


def run(folder: Path, epochs: int, *flags: str) -> None:
    """A run of the definition in `folder`, its results in `folder`/results."""
    (folder / "def.py").write_text(DEFINITION)
    places = ("-d", str(folder), "-r", str(folder / "results"))
    given = ("--epoch", str(epochs), "--seed", "0", "--batch-size", "100")  # for a trial without its run.json
    flags = (*places, *given, "--quiet", *flags)
    code = command.main(["-f", str(folder / "def.py"), "--cpu", "--train", "--predict", "def.py", *flags])
    if code:
        raise SystemExit(code)


def main() -> None:
    """Make the folder of this version's format."""
    kept = FORMATS / str(checkpoints.FORMAT)
    if kept.exists():
        raise SystemExit(f"{kept} is there")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run(folder, EPOCHS[0])
        trial = folder / "results" / "trials" / "single"
        for name in ("config.json", "train_results.csv", "train_results.json"):
            (kept / "checkpoints").mkdir(parents=True, exist_ok=True)
            shutil.copy(trial / name, kept / name)
        for name in ("best.pt", "last.pt"):
            shutil.copy(trial / "checkpoints" / name, kept / "checkpoints" / name)
        predictions = np.load(folder / "results" / "predictions" / "def.py.npy").tolist()
        run(folder, EPOCHS[1])
        table = (trial / "train_results.csv").read_text().splitlines()
    expected = {"predictions": predictions, "history": table}
    (kept / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
