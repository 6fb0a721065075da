"""Find the binding sites of a transcription factor, beginning with an encoder that knows the genome.

The environment variables GENOME, PEAKS, VAL and TEST name the data, as in ../yeast_tf.
"""

from network import EveryLayer, make_encoder
from torch import nn, optim

from helixband import ClassificationModel, IntervalBatchGenerator, TrainingOptions, metrics, parameter_groups
from helixband.env import env
from helixband.networks import PooledHead, ReverseComplementEquivariant, SequenceNetwork

GENOME = env("GENOME", "genome.fa")
PEAKS = env("PEAKS", "peaks.bed")
VAL = env("VAL", "chr5").split(",")
TEST = env("TEST", "chr6").split(",")


def read_parts(data_dir, batch_size=None):
    """201 bases around each peak, and three windows of similar GC content per peak, split by chromosome."""
    windows = IntervalBatchGenerator(
        f"{data_dir}/{GENOME}",
        f"{data_dir}/{PEAKS}",
        window=201,
        negatives=3,
        jitter=5,
        reverse_complement=True,
        aliases="match",
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
    return {"lr": 5e-3, "encoder_lr": 5e-3, "frozen": 1, "dropout": 0.2}


class Model(ClassificationModel):
    def init_model(self):
        encoder = make_encoder(EveryLayer)
        head = PooledHead(encoder.out_channels, 2, pooling="max", dropout=self.config["dropout"])
        network = ReverseComplementEquivariant(SequenceNetwork(encoder, head))
        rates = {"network.encoder.*": self.config["encoder_lr"], "*": self.config["lr"]}
        optimizer = optim.AdamW(parameter_groups(network, rates), weight_decay=0.01)
        epochs = self.config["frozen"]
        options = TrainingOptions(freeze={"network.encoder.*": epochs} if epochs else None)
        super().init_model(network, nn.CrossEntropyLoss(), optimizer, training=options)

    def eval_metrics(self, y_true, y_pred):
        return {"auroc": metrics.auroc(y_true, y_pred), "auprc": metrics.auprc(y_true, y_pred)}

    def get_hyperband_reward(self, result):
        return result["val_auroc"]
