"""Time networks beside what they are to be compared with, in turn in one process.

The transformer encoder beside `nn.TransformerEncoder` with the same settings and weights, and a network on
both strands beside the same on one. A step is forward, backward and AdamW's update. A round has one step of
each, in changing order; what counts is the median over rounds of the ratio within a round.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from common import make_parser, report, setting, table
from torch import Tensor, nn

from base_model import choose_device
from helixband.networks import (
    ConvEncoder,
    DilatedConvEncoder,
    PooledHead,
    ProfileCountHead,
    ReverseComplementEquivariant,
    SequenceNetwork,
    TransformerEncoder,
    padding_mask,
)

WIDTH, HEADS, LAYERS, FEEDFORWARD, DROPOUT = 256, 8, 2, 1024, 0.1
BATCH, LENGTH = 8, 128
MAX_TRANSFORMER, MAX_EQUIVARIANT = 1.05, 2.2
WARM_UP = 3  # rounds that are not counted
TOLERANCE = 1e-4

THEIRS = {
    "attention_norm": "norm1",
    "feedforward_norm": "norm2",
    "attention.qkv.": "self_attn.in_proj_",
    "attention.output": "self_attn.out_proj",
    "feedforward.0": "linear1",
    "feedforward.3": "linear2",
}
"""Our names of weights, and those of nn.TransformerEncoder."""

Loss = Callable[[], Tensor]


class Pair(NamedTuple):
    """Two networks with the losses that their steps compute."""

    name: str
    networks: tuple[nn.Module, nn.Module]
    losses: tuple[Loss, Loss]  # ours, and what it is compared with
    wanted: float


class Outcome(NamedTuple):
    name: str
    wall: float
    cpu: float
    milliseconds: float  # of the network that ours is compared with
    wanted: float


def transformer(pre_norm: bool, padded: bool, device: torch.device) -> Pair:
    """Both transformers with the same weights; their outputs are compared before they are timed."""
    settings: dict[str, Any] = dict(heads=HEADS, layers=LAYERS, feedforward=FEEDFORWARD, dropout=DROPOUT)
    ours = TransformerEncoder(WIDTH, WIDTH, **settings, pre_norm=pre_norm, positions="none").to(device)
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, FEEDFORWARD, DROPOUT, "gelu", batch_first=True, norm_first=pre_norm
    )
    norm = nn.LayerNorm(WIDTH) if pre_norm else None
    theirs = nn.TransformerEncoder(layer, LAYERS, norm, enable_nested_tensor=False).to(device)
    theirs.load_state_dict({renamed(name): weight for name, weight in ours.state_dict().items()})
    x = torch.randn(BATCH, WIDTH, LENGTH, device=device)
    positions = x.transpose(1, 2).contiguous()
    lengths = torch.linspace(LENGTH // 2, LENGTH, BATCH, device=device).long()
    mask = padding_mask(lengths, LENGTH) if padded else None

    def of_ours() -> Tensor:
        return ours(x, mask)

    def of_theirs() -> Tensor:
        output: Tensor = theirs(positions, src_key_padding_mask=mask).transpose(1, 2)
        return output if mask is None else output.masked_fill(mask.unsqueeze(1), 0.0)

    ours.eval(), theirs.eval()
    difference = (of_ours() - of_theirs()).abs().max().item()
    if not difference <= TOLERANCE:
        raise SystemExit(f"the two transformers differ by {difference}")
    ours.train(), theirs.train()
    name = f"transformer, {'pre' if pre_norm else 'post'}-norm{', padding' * padded}"
    losses = (lambda: of_ours().square().mean()), (lambda: of_theirs().square().mean())
    return Pair(name, (ours, theirs), losses, MAX_TRANSFORMER)


def renamed(name: str) -> str:
    """The name that nn.TransformerEncoder has for a weight of ours."""
    for ours, theirs in THEIRS.items():
        name = name.replace(ours, theirs)
    return name


def equivariant(name: str, network: nn.Module, device: torch.device) -> Pair:
    """A network on both strands, and on one."""
    network = network.to(device)
    both = ReverseComplementEquivariant(network)
    x = torch.randint(0, 4, (BATCH, LENGTH), device=device, dtype=torch.uint8)

    def loss_of(made: nn.Module) -> Loss:
        def loss() -> Tensor:
            output = made(x)
            leaves = output.values() if isinstance(output, dict) else [output]
            return sum((leaf.square().mean() for leaf in leaves), torch.zeros((), device=device))

        return loss

    return Pair(f"both strands, {name}", (both, network), (loss_of(both), loss_of(network)), MAX_EQUIVARIANT)


def pairs(device: torch.device) -> list[Pair]:
    torch.manual_seed(0)
    conv, dilated = ConvEncoder(4, [64, 96, 128]), DilatedConvEncoder(4, 64, layers=4)
    small = TransformerEncoder(4, WIDTH, heads=HEADS, layers=LAYERS, positions="rotary")
    return [
        *(transformer(pre_norm, padded, device) for pre_norm in (True, False) for padded in (False, True)),
        equivariant("ConvEncoder", SequenceNetwork(conv, PooledHead(128, 1)), device),
        equivariant("DilatedConvEncoder", SequenceNetwork(dilated, ProfileCountHead(64, 2)), device),
        equivariant("TransformerEncoder", SequenceNetwork(small, PooledHead(WIDTH, 1)), device),
    ]


def timed(loss: Loss, optimizer: torch.optim.Optimizer, device: torch.device) -> tuple[float, float]:
    """Seconds of a step: on the wall, and of this process's processors."""
    wall, cpu = time.perf_counter(), time.process_time()
    optimizer.zero_grad()
    loss().backward()
    optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(pair: Pair, rounds: int, device: torch.device) -> Outcome:
    optimizers = [torch.optim.AdamW(network.parameters(), lr=1e-5) for network in pair.networks]
    walls, cpus, reference = [], [], []
    for number in range(WARM_UP + rounds):
        found = {}
        for which in (0, 1) if number % 2 else (1, 0):
            found[which] = timed(pair.losses[which], optimizers[which], device)
        if number >= WARM_UP:
            walls.append(found[0][0] / found[1][0])
            cpus.append(found[0][1] / found[1][1])
            reference.append(1000 * found[1][0])
    median = statistics.median
    return Outcome(pair.name, median(walls), median(cpus), median(reference), pair.wanted)


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="rounds that are counted [%(default)s]")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    device = choose_device(args.cpu)
    outcomes = [measure(pair, args.rounds, device) for pair in pairs(device)]
    document = {
        "setting": {**setting(device), "rounds": args.rounds, "batch": BATCH, "length": LENGTH},
        "networks": [outcome._asdict() for outcome in outcomes],
    }
    rows = [
        (each.name, f"{each.milliseconds:.1f}", f"{each.wall:.3f}", f"{each.cpu:.3f}", each.wanted)
        for each in outcomes
    ]
    report(document, [table(["network", "plain ms", "wall", "CPU time", "wanted"], rows)], args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
