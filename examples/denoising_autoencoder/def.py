"""Restore sequences in which bases were changed or hidden; no labels are needed."""

from torch import optim

from helixband import Corruption, DenoisingAutoencoder, FastaBatchGenerator
from helixband.networks import PositionHead, SequenceNetwork, UNet
from helixband.sequence.alphabet import DNA


def get_train_generator(data_dir, batch_size):
    return FastaBatchGenerator(f"{data_dir}/train.fa", batch_size=batch_size, shuffle=True)


def get_val_generator(data_dir):
    return FastaBatchGenerator(f"{data_dir}/val.fa")


def get_test_generator(data_dir):
    return FastaBatchGenerator(f"{data_dir}/test.fa")


def get_pred_generator(pred_path):
    return FastaBatchGenerator(pred_path)


def get_config():
    return {"lr": 1e-2}


class Model(DenoisingAutoencoder):
    def init_model(self):
        encoder = UNet(len(DNA), [32, 48, 64], kernel_size=5)
        network = SequenceNetwork(encoder, PositionHead(encoder.out_channels, DNA.n_tokens))
        optimizer = optim.AdamW(network.parameters(), self.config["lr"])
        schedule = optim.lr_scheduler.OneCycleLR(optimizer, self.config["lr"], total_steps=self.total_steps)
        super().init_model(
            network,
            optimizer,
            corruption=Corruption(mask=0.1, random=0.1),
            scheduler=schedule,
            scheduler_interval="step",
        )
