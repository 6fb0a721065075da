"""Learn what a genome looks like: bases are hidden, and the network says what they were.

The environment variable GENOME (FASTA) names the file. VAL and TEST name the chromosomes of the validation
and test sets.
"""

from network import make_encoder
from torch import optim

from helixband import Corruption, FastaBatchGenerator, MaskedTokenModel
from helixband.env import env
from helixband.networks import PositionHead, ReverseComplementEquivariant, SequenceNetwork
from helixband.sequence.alphabet import DNA

GENOME = env("GENOME", "genome.fa")
VAL = env("VAL", "chr5").split(",")
TEST = env("TEST", "chr6").split(",")
WINDOW = 256
COMPLEMENT = [3, 2, 1, 0]  # of A, C, G and T: the outputs on the other strand


def read_parts(data_dir, batch_size=None):
    """Windows along the chromosomes, without labels; those of training differ from epoch to epoch."""
    windows = FastaBatchGenerator(
        f"{data_dir}/{GENOME}",
        window=WINDOW,
        random_offsets=True,
        batch_size=batch_size,
        shuffle=True,
    )
    return windows.split(by="chromosome", val=VAL, test=TEST)


def get_train_generator(data_dir, batch_size):
    train, val, _ = read_parts(data_dir, batch_size)
    return train, val


def get_test_generator(data_dir):
    return read_parts(data_dir)[2]


def get_config():
    return {"lr": 4e-3}


class Model(MaskedTokenModel):
    def init_model(self):
        encoder = make_encoder()
        head = PositionHead(encoder.out_channels, DNA.n_tokens)
        network = ReverseComplementEquivariant(SequenceNetwork(encoder, head), strands=COMPLEMENT)
        optimizer = optim.AdamW(network.parameters(), self.config["lr"])
        schedule = optim.lr_scheduler.OneCycleLR(optimizer, self.config["lr"], total_steps=self.total_steps)
        super().init_model(
            network,
            optimizer,
            corruption=Corruption(mask=0.12, random=0.015, keep=0.015),
            scheduler=schedule,
            scheduler_interval="step",
        )
