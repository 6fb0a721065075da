"""Toy modules of both packages, and the command that runs them."""

import pytest

COMMON = """
import importlib
import numpy as np, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
L = importlib.import_module("{package}")

class Data(L.LightningDataModule):
    def __init__(self, data_dir, batch_size):
        super().__init__()
        self.batch_size, self.predict_path = batch_size, None
    def setup(self, stage):
        x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
        self.sets = TensorDataset(x, x.sum(1, keepdim=True))
    def loader(self, first, last, **more):
        part = torch.utils.data.Subset(self.sets, range(first, last))
        return DataLoader(part, batch_size=self.batch_size, **more)
    def train_dataloader(self): return self.loader(0, 40, shuffle=True)
    def val_dataloader(self): return self.loader(40, 50)
    def test_dataloader(self): return self.loader(50, 60)
    def predict_dataloader(self):
        x = torch.from_numpy(np.loadtxt(self.predict_path, dtype="float32"))
        return DataLoader(TensorDataset(x), batch_size=2)

class Lit(L.LightningModule):
    optimized_metric, mode = "val/mse", "min"
    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Dropout(0.1), nn.Linear(3, 1))
    def forward(self, x): return self.net(x)
    def mse(self, batch): return nn.functional.mse_loss(self(batch[0]), batch[1])
    def training_step(self, batch, index):
        loss = self.mse(batch)
        self.log("train/mse", loss, on_step=False, on_epoch=True)
        return loss
    def validation_step(self, batch, index): self.log("val/mse", self.mse(batch))
    def test_step(self, batch, index): self.log("test/mse", self.mse(batch))
    def predict_step(self, batch, index): return self(batch[0])
    def configure_optimizers(self): return torch.optim.Adam(self.parameters(), self.hparams.lr)
"""
BOTH = """
def get_config(): return {"lr": float(np.random.choice([0.01, 0.1]))}
def get_module(config): return Lit(**config)
def get_datamodule(data_dir, batch_size): return Data(data_dir, batch_size)
"""


@pytest.fixture(name="package", params=["lightning", "pytorch_lightning"])
def package_fixture(request):
    return request.param


@pytest.fixture(name="experiment")
def experiment_fixture(tmp_path, monkeypatch):
    """Write a def.py of the common classes and more, and run it; gives (exit code, output)."""
    from helixband.run.command import main

    (tmp_path / "x.txt").write_text("1 2 3\n0 0 0\n1 1 1\n")
    monkeypatch.chdir(tmp_path)

    def write(more=BOTH, package="lightning"):
        (tmp_path / "def.py").write_text(COMMON.replace("{package}", package) + more)

    def run(*flags, result="results"):
        return main(["--model", "def.py", "--result", result, "-bs", "10", "--cpu", *flags])

    run.write, run.path = write, tmp_path
    return run
