"""What our callback in Lightning's Trainer costs, and the same CNN as BaseModel and as LightningModule.

Seconds of an epoch, validation included. The three take turns; a ratio is the median of those within a round.
The Trainer alone has no logger and writes no checkpoint. Ours keeps its state after each epoch.
"""

import statistics
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import lightning
import torch
from common import make_parser, report, setting, table
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from base_model import BaseModel
from helixband.interop.model import LightningModel
from helixband.interop.packages import quiet
from helixband.results.trial import Trial

WANTED = 1.05
"""The time with our callback ÷ that of the Trainer alone, at most."""


def network() -> nn.Module:
    """A CNN for (N, 4, 200)."""
    return nn.Sequential(
        nn.Conv1d(4, 32, 9, padding=4), nn.ReLU(), nn.MaxPool1d(4),
        nn.Conv1d(32, 32, 9, padding=4), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(32, 1),
    )  # fmt: skip


class Lit(lightning.LightningModule):
    """The CNN as a LightningModule."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def training_step(self, batch: Any, index: int) -> Tensor:
        return nn.functional.mse_loss(self.network(batch[0]), batch[1])

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", nn.functional.mse_loss(self.network(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 1e-3)


class Ours(BaseModel):
    """The CNN as a BaseModel."""

    def init_model(self) -> None:  # type: ignore[override]
        made = network()
        super().init_model(made, nn.MSELoss(), torch.optim.Adam(made.parameters(), 1e-3))


class Adapted(LightningModel):
    """The LightningModule in a run of ours."""

    parts = {"get_module": lambda config: Lit()}


def main() -> int:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3, help="of a training [%(default)s]")
    parser.add_argument("--repeats", type=int, default=5, help="rounds [%(default)s]")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    x = torch.randn(4000, 4, 200)
    data = TensorDataset(x, x.mean(dim=(1, 2))[:, None])
    train, val = (DataLoader(data, batch_size=50, shuffle=shuffle) for shuffle in (True, False))
    args = Namespace(cpu=True, epoch=flags.epochs, total_epochs=flags.epochs, steps_per_epoch=len(train))

    def alone(folder: Path) -> None:
        with quiet(lightning.pytorch):
            trainer = lightning.Trainer(
                max_epochs=flags.epochs, accelerator="cpu", devices=1, logger=False, num_sanity_val_steps=0,
                enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            )  # fmt: skip
            trainer.fit(Lit(), train, val)

    def by(kind: type[BaseModel]) -> Any:
        def fit(folder: Path) -> None:
            trial = Trial(folder / "trial")
            trial.begin_attempt()
            kind({}, args).fit(train, val, flags.epochs, trial)

        return fit

    ways = {"Trainer alone": alone, "with our callback": by(Adapted), "BaseModel": by(Ours)}
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(flags.repeats):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                way(Path(folder))
                took[name].append((time.perf_counter() - began) / flags.epochs)
    base = took["Trainer alone"]
    ratios = {
        name: statistics.median(mine / other for mine, other in zip(seconds, base, strict=True))
        for name, seconds in took.items()
    }
    document = {
        "setting": setting(torch.device("cpu"), ["torch", "lightning"]),
        "seconds_of_an_epoch": took,
        "ratios": ratios,
        "wanted": WANTED,
    }
    rows = [
        [name, f"{statistics.median(seconds):.3f}", f"{ratios[name]:.3f}"] for name, seconds in took.items()
    ]
    told = f"wanted with our callback: at most {WANTED} of the Trainer alone"
    report(document, [table(["way", "s an epoch", "÷ Trainer alone"], rows), told], flags.json)
    return 0 if ratios["with our callback"] <= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
