"""Groups of hyperparameters that many definitions have, to be put together with one's own.

    from helixband.hparams.groups import Optimizing, Training

    class Everything(Optimizing, Training, Encoding): ...

All fit into one collection. A definition reads them as its own: no run does it in its place. An optional
hyperparameter is None if it is not given.
"""

from typing import Literal

from helixband.hparams.declaration import hparam
from helixband.hparams.hparams import Hparams
from helixband.hparams.ranges import Range


class Optimizing(Hparams):
    """The optimizer."""

    version = 1

    optimizer: Literal["adamw", "adam", "sgd"] = hparam("adamw", "which optimizer", short="opt")
    lr: float = hparam(1e-3, "learning rate", search=Range(1e-5, 0.05, log=True))
    weight_decay: float = hparam(0.01, "weight decay", short="wd", search=Range(1e-5, 0.1, log=True))
    momentum: float = hparam(0.9, "momentum of SGD", short="mom")
    beta1: float = hparam(0.9, "decay of the mean of the gradients, of Adam and AdamW", short="b1")
    beta2: float = hparam(0.999, "decay of the mean of their squares, of Adam and AdamW", short="b2")
    warmup_epochs: int = hparam(0, "epochs in which the learning rate rises from 0", short="wu")


class Training(Hparams):
    """The options of the training, for TrainingOptions.from_hparams(self.hparams)."""

    version = 1

    scheduler_interval: Literal["epoch", "step"] = hparam(
        None,
        'When schedulers are stepped: after each "epoch", as by default, or after each optimizer '
        '"step"; for several, one for all or a list.',
    )
    scheduler_metric: str = hparam(
        None,
        "The column of the epoch's row that ReduceLROnPlateau looks at. The default is val_loss for "
        'its mode "min", and the reward for "max".',
    )
    freeze: list[str] = hparam(
        None,
        'Parameters that are not trained in the first epochs, by globs on their names: {"encoder.*": '
        '3}, or ["encoder.*=3"]. The first glob that matches a parameter counts.',
    )
    ema_decay: float = hparam(
        None,
        "Keep an exponential moving average of the weights over the optimizer steps, with this decay,"
        " for example 0.999. The network is validated and used with it.",
        short="ema",
    )
    swa_start: float = hparam(
        None,
        "Average the weights at the ends of the epochs after this share of --epoch (0.75). The "
        "network is validated and used with the average.",
    )
    renew_batch_norm: bool = hparam(
        None,
        "Compute the statistics of BatchNorm anew for averaged weights, by a pass over the training "
        "data before each validation. The default is true with swa_start, and false with ema_decay.",
    )
    patience: int = hparam(
        None,
        "End a training when its metric has not improved for so many epochs. It is complete then.",
        short="pat",
    )
    patience_metric: str = hparam(
        "reward",
        "The column of the epoch's row that patience looks at, for example val_loss.",
    )
    patience_mode: Literal["max", "min"] = hparam(
        None,
        'Whether that metric is to grow, "max", or to fall, "min". The default is "max" for the '
        'reward, and "min" for what ends in "loss"; of others it has to be given.',
    )
    patience_gain: float = hparam(
        0.0,
        "An epoch is an improvement if the metric is better than the best by more than this.",
    )
    nan: Literal["fail", "stop", "skip"] = hparam(
        "fail",
        'A loss that is not finite: the training fails; with "stop" it ends, and its best epoch '
        'counts; with "skip" the optimizer step is left out, and counted as train_skipped.',
    )
    accumulate: int = hparam(
        1,
        "How many batches make an optimizer step; --batch-size is that of one of them.",
        short="acc",
    )
    clip_value: float = hparam(
        None,
        "Each element of the gradients is brought into [-clip_value, clip_value].",
        short="cv",
    )
    clip_norm: float = hparam(
        None,
        "The L2 norm of all gradients is brought to this, where it is above.",
        short="cn",
    )
    gradient_norm: Literal["L1", "L2", "max"] = hparam(
        None,
        'The norm of all gradients that each epoch\'s row has, the mean over its steps: "L1", "L2" or "max".',
    )
    precision: Literal["32", "tf32", "bf16", "16"] = hparam(
        "32",
        'How the network computes: "32", "tf32", or in 16 bits, "bf16" or "16".',
        short="prec",
    )
    capture: bool = hparam(True, "On a GPU and in packs, replay steps; false computes each.")
    epoch_steps: int = hparam(
        None,
        "An epoch is so many batches of the training data, which go on from epoch to epoch; for sets "
        "too large for epochs of their own.",
        short="es",
    )
    limit_train: str = hparam(
        None,
        "Train on so many batches of an epoch (10), or such a share (0.1).",
        short="lt",
    )
    limit_val: str = hparam(
        None,
        "Validate on so many batches, or such a share.",
    )
    limit_test: str = hparam(
        None,
        "Test on so many batches, or such a share; the result is marked.",
    )


class Sequences(Hparams):
    """Sequence data, as the generators for FASTA and for intervals take them."""

    version = 1

    window: int = hparam(None, "bases of a window", short="win")
    window_stride: int = hparam(None, "bases from one window to the next, along records", short="ws")
    jitter: int = hparam(0, "bases by which a training window is shifted at most", short="jit")
    reverse_complement: float = hparam(
        0.0, "share of the training windows that are read from the other strand", short="rc"
    )
    shift: float = hparam(0.0, "share of the training examples that are shifted, with a gap", short="sh")
    max_shift: int = hparam(0, "bases of such a shift at most", short="ms")
    negatives: int = hparam(None, "negatives for each positive interval", short="neg")
    sampling: Literal["balanced"] = hparam(
        None, "balanced: as many training examples of each class in each epoch", short="samp"
    )
    min_length: int = hparam(1, "bases of the shortest record that is read", short="ml")


class Running(Hparams):
    """How the definition's own code runs; the number of epochs and the batch size are flags of main.py."""

    version = 1

    num_workers: int = hparam(0, "processes of a DataLoader", short="nw")
    pin_memory: bool = hparam(False, "whether a DataLoader pins its batches in memory", short="pin")
    compile: bool = hparam(False, "whether the network is compiled by torch.compile", short="comp")
    deterministic: bool = hparam(
        False, "whether torch is told to use deterministic algorithms alone", short="det"
    )


class ConvEncoding(Hparams):
    """A convolutional encoder by pooling, for ConvEncoder.from_hparams(self.hparams, in_channels=4)."""

    version = 1

    conv_channels: list[int] = hparam([64, 96, 128], "channels of each block", short="cc")
    conv_first_kernel_size: int = hparam(15, "positions of a kernel of the first block, odd", short="cfk")
    conv_kernel_size: int = hparam(5, "positions of a kernel of the other blocks, odd", short="ck")
    conv_pool: Literal["max", "average", "attention"] = hparam("max", "how windows are pooled", short="cp")
    conv_pool_size: int = hparam(2, "positions of a window that is pooled", short="cps")
    conv_norm: Literal["batch", "layer", "none"] = hparam("batch", "normalisation", short="cno")
    conv_activation: Literal["relu", "gelu", "silu"] = hparam("relu", "activation", short="cac")
    conv_dropout: float = hparam(0.0, "dropout of each block", short="cdo", search=Range(0.0, 0.5))


class DilatedEncoding(Hparams):
    """A convolutional encoder by dilation, for DilatedConvEncoder.from_hparams(self.hparams,
    in_channels=4)."""

    version = 1

    dilated_channels: int = hparam(64, "channels of each layer", short="dc", search=[32, 64, 128])
    dilated_layers: int = hparam(8, "dilated layers", short="dl", search=[4, 6, 8])
    dilated_first_kernel_size: int = hparam(21, "positions of a kernel of the first convolution", short="dfk")
    dilated_kernel_size: int = hparam(3, "positions of a kernel of the dilated layers, odd", short="dk")
    dilated_dilation_growth: float = hparam(2.0, "the dilation of layer i is this to the power i", short="dg")
    dilated_norm: Literal["batch", "layer", "none"] = hparam("none", "normalisation", short="dno")
    dilated_activation: Literal["relu", "gelu", "silu"] = hparam("relu", "activation", short="dac")
    dilated_dropout: float = hparam(0.0, "dropout of each layer", short="ddo", search=Range(0.0, 0.5))


class UNetEncoding(Hparams):
    """A U-shaped encoder-decoder, for UNet.from_hparams(self.hparams, in_channels=4)."""

    version = 1

    unet_channels: list[int] = hparam([32, 64, 128], "channels of each level, the finest first", short="uc")
    unet_kernel_size: int = hparam(9, "positions of a kernel, odd", short="uk")
    unet_pool: Literal["max", "average", "attention"] = hparam("max", "how windows are pooled", short="up")
    unet_pool_size: int = hparam(2, "positions of a window that is pooled", short="ups")
    unet_norm: Literal["batch", "layer", "none"] = hparam("batch", "normalisation", short="uno")
    unet_activation: Literal["relu", "gelu", "silu"] = hparam("relu", "activation", short="uac")
    unet_dropout: float = hparam(0.0, "dropout of each level", short="udo", search=Range(0.0, 0.5))


class TransformerEncoding(Hparams):
    """A transformer, for TransformerEncoder.from_hparams(self.hparams, in_channels=4)."""

    version = 1

    transformer_width: int = hparam(256, "channels of each position", short="tw", search=[128, 256, 512])
    transformer_heads: int = hparam(8, "attention heads; they divide the width", short="th")
    transformer_layers: int = hparam(6, "attention layers", short="tl", search=[2, 4, 6])
    transformer_feedforward: int = hparam(
        None, "units of the layer between; by default 4 times the width", short="tff"
    )
    transformer_dropout: float = hparam(0.1, "dropout", short="tdo", search=Range(0.0, 0.3))
    transformer_activation: Literal["relu", "gelu", "silu"] = hparam("gelu", "activation", short="tac")
    transformer_pre_norm: bool = hparam(
        True, "whether layer normalisation is before each sublayer, or after it", short="tpn"
    )
    transformer_positions: Literal["sinusoidal", "learned", "rotary", "none"] = hparam(
        "sinusoidal", "how positions enter", short="tp"
    )
    transformer_max_length: int = hparam(
        None, "positions of the longest sequence; learned positions need it", short="tml"
    )


class RecurrentEncoding(Hparams):
    """A recurrent encoder, for RecurrentEncoder.from_hparams(self.hparams, in_channels=4)."""

    version = 1

    recurrent_hidden: int = hparam(128, "units of each direction", short="rh", search=[64, 128, 256])
    recurrent_layers: int = hparam(1, "recurrent layers", short="rl")
    recurrent_cell: Literal["lstm", "gru", "rnn"] = hparam("lstm", "which recurrent network", short="rce")
    recurrent_bidirectional: bool = hparam(True, "whether it also reads from the end", short="rbi")
    recurrent_dropout: float = hparam(0.0, "dropout of each layer", short="rdo", search=Range(0.0, 0.5))


class Head(Hparams):
    """A head, for PooledHead, PositionHead or CountHead.from_hparams(self.hparams, in_channels=…, …)."""

    version = 1

    head_pooling: Literal["mean", "max", "attention", "first"] = hparam(
        "mean", "how positions become one vector; of a head of positions, none", short="hp"
    )
    head_hidden: list[int] = hparam([], "units of each hidden layer; without, the head is linear", short="hh")
    head_activation: Literal["relu", "gelu", "silu"] = hparam("relu", "activation", short="hac")
    head_dropout: float = hparam(
        0.0, "dropout of features and of hidden layers", short="hdo", search=Range(0.0, 0.5)
    )


class Profile(Hparams):
    """A profile, for ProfileHead or ProfileCountHead.from_hparams(self.hparams, in_channels=…, tracks=…)."""

    version = 1

    profile_kernel_size: int = hparam(75, "positions of the kernel, odd", short="pk")
    profile_length: int = hparam(
        None, "positions of the profile, the central ones; by default all", short="pl"
    )


GROUPS: tuple[type[Hparams], ...] = (
    *(Optimizing, Training, Sequences, Running),
    *(ConvEncoding, DilatedEncoding, UNetEncoding, TransformerEncoding, RecurrentEncoding, Head, Profile),
)
