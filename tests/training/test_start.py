"""The weights of a file come to the tensors of a network that have their names; what does not is told."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from helixband.errors import StorageError, UsageError
from helixband.files import write_document
from helixband.results.directory import Results
from helixband.training.start import Match, Origin, Start

State = dict[str, Tensor]


class Net(nn.Module):
    """An encoder of two layers, and a head."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, outputs)


ENCODER = [
    "0.weight",
    "0.bias",
    "1.weight",
    "1.bias",
    "1.running_mean",
    "1.running_var",
    "1.num_batches_tracked",
]
ENTRIES = (*(f"encoder.{name}" for name in ENCODER), "head.weight", "head.bias")


def state_of(network: nn.Module, before: str = "") -> State:
    """What `network` has as a file would, all numbers 7; names begin with `before`."""
    return {f"{before}{name}": torch.full_like(value, 7) for name, value in network.state_dict().items()}


def checkpoint(state: State) -> Start:
    return Start(Origin("--load-checkpoint", "file.pt"), lambda: state)


def encoder(state: State, part: str = "") -> Start:
    return Start(Origin("--load-encoder-from", "file.pt", part), lambda: state)


def sevens(network: nn.Module) -> list[str]:
    """The names of the tensors that are 7 throughout."""
    return [name for name, value in network.state_dict().items() if bool((value == 7).all())]


def lines(match: Match, start: Start) -> str:
    return "\n".join(match.lines(start.origin))


@pytest.mark.parametrize("before", ["", "model.", "module.", "model._orig_mod."])
def test_all_names_may_begin_with_something_more(before: str) -> None:
    network, start = Net(), checkpoint(state_of(Net(), before))
    match = start.put_into(network)
    assert sevens(network) == list(ENTRIES)
    assert match == Match(loaded=ENTRIES, missing=(), unused=(), other=(), source=before, target="")
    assert lines(match, start) == (
        "weights: 9 of the 9 tensors of the network are from --load-checkpoint file.pt"
        + (f" ({before}… there, no prefix here)" if before else "")
    )


def test_what_does_not_match_is_told_and_left() -> None:
    there = state_of(Net())
    del there["head.bias"]
    there["old.weight"] = torch.zeros(2)
    network, start = Net(), checkpoint(there)
    before = network.head.bias.clone()
    match = start.put_into(network)
    assert network.head.bias.equal(before)
    assert (match.missing, match.unused) == (("head.bias",), ("old.weight",))
    assert lines(match, start) == (
        "weights: 8 of the 9 tensors of the network are from --load-checkpoint file.pt\n"
        "  not in the file, and as init_model made them: head.bias\n"
        "  in the file, and not used: old.weight"
    )


def test_whatever_else_a_file_of_a_training_has_is_left() -> None:
    there = {**state_of(Net(), "model."), "criterion.weight": torch.ones(2)}
    match = checkpoint(there).put_into(network := Net())
    assert sevens(network) == list(ENTRIES)
    assert match.unused == ("criterion.weight",)


def test_the_optimizer_goes_on_with_the_same_tensors() -> None:
    network = Net()
    tensors = list(network.parameters())
    checkpoint(state_of(Net())).put_into(network)
    assert all(one is other for one, other in zip(network.parameters(), tensors, strict=True))


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float16, torch.bfloat16, torch.float64])
def test_numbers_of_another_precision_are_taken(kind: torch.dtype) -> None:
    there = {name: value.to(kind) if value.ndim else value for name, value in state_of(Net()).items()}
    checkpoint(there).put_into(network := Net())
    assert sevens(network) == list(ENTRIES)
    assert network.head.weight.dtype == torch.float32


def test_a_layer_that_has_no_shape_yet_takes_the_one_of_the_file() -> None:
    network = nn.Sequential(nn.LazyLinear(2))
    checkpoint(state_of(nn.Sequential(nn.Linear(3, 2)))).put_into(network)
    assert network(torch.ones(1, 3)).tolist() == [[28, 28]]


# A part.


@pytest.mark.parametrize(
    ("before", "part"),
    [
        ("", ""),
        ("encoder.", ""),
        ("model.encoder.", ""),
        ("encoder.", "encoder"),
        ("backbone.", "backbone"),
        ("model.encoder.", "model.encoder"),
        ("model.encoder.", "model"),
    ],
)
def test_an_encoder_is_found_and_the_rest_left(before: str, part: str) -> None:
    there = {**state_of(Net().encoder, before), "head.weight": torch.full((9, 9), 7.0)}
    network, start = Net(), encoder(there, part)
    match = start.put_into(network)
    assert sevens(network) == list(ENTRIES[:7])
    assert match.loaded == ENTRIES[:7]
    assert match.unused == ("head.weight",)


def test_a_decoder_with_the_names_of_the_encoder_is_none() -> None:
    there = {**state_of(Net().encoder, "decoder."), **state_of(Net().encoder[:1], "model.encoder.")}
    match = encoder(there).put_into(network := Net())
    assert match.loaded == ("encoder.0.weight", "encoder.0.bias")
    assert sevens(network) == ["encoder.0.weight", "encoder.0.bias"]


def test_a_network_has_the_part_of_its_own_name() -> None:
    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = nn.Linear(3, 2), nn.Linear(2, 1)

    network = Other()
    start = encoder(state_of(Other()), "backbone")
    match = start.put_into(network)
    assert sevens(network) == ["backbone.weight", "backbone.bias"]
    assert lines(match, start) == (
        "weights: 2 of the 2 tensors of the network's backbone are from --load-encoder-from "
        "file.pt:backbone\n"
        "  the rest of the network is as init_model made it\n"
        "  in the file, and not used: head.weight, head.bias"
    )


class Around(nn.Module):
    """What is around a whole network, as one for both strands."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


@pytest.mark.parametrize(
    ("around", "part"),
    [("", ""), ("", "encoder"), ("network.", ""), ("network.", "network.encoder"), ("a.network.", "")],
)
def test_the_encoder_of_a_network_is_found_within_what_is_around_it(around: str, part: str) -> None:
    there = state_of(Net(), around)  # its head has the shape of that of the network
    match = encoder(there, part).put_into(network := Around(Around(Net())))
    assert sevens(network) == [f"network.network.{name}" for name in ENTRIES[:7]]
    assert match.unused == (f"{around}head.weight", f"{around}head.bias")


def test_an_encoder_within_another_part_is_loaded_with_that_part() -> None:
    class Bert(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embeddings, self.encoder = nn.Linear(2, 3), nn.Linear(3, 3)

    class Classifier(nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.bert, self.head = Bert(), nn.Linear(3, classes)

    encoder(state_of(Classifier(9))).put_into(network := Classifier(2))
    assert sevens(network) == [
        f"bert.{part}.{name}" for part in ("embeddings", "encoder") for name in ("weight", "bias")
    ]


def test_a_head_of_another_shape_is_left_where_the_network_has_no_encoder() -> None:
    network, there = (
        nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1)),
        nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 9)),
    )
    start = encoder(state_of(there))
    match = start.put_into(network)
    assert sevens(network) == ["0.weight", "0.bias"]
    assert lines(match, start) == (
        "weights: 2 of the 4 tensors of the network are from --load-encoder-from file.pt\n"
        "  other in the file, and as init_model made them: 1.weight is (9, 4) float32 there and (1, 4) "
        "float32 here, 1.bias is (9,) float32 there and (1,) float32 here"
    )


# What is refused.


def refuses(start: Start, network: nn.Module, message: str) -> None:
    before = [value.clone() for value in network.state_dict().values()]
    with pytest.raises(UsageError, match=message):
        start.put_into(network)
    assert all(map(torch.equal, before, network.state_dict().values()))


def test_another_shape_is_refused() -> None:
    told = (
        r"--load-checkpoint file.pt is of another architecture than the network: head.weight is \(2, 4\) "
        r"float32 there and \(1, 4\) float32 here, head.bias is \(2,\) float32 there and \(1,\) "
        r"float32 here\. Give"
    )
    refuses(checkpoint(state_of(Net(2))), Net(1), told)
    refuses(
        encoder(state_of(nn.Linear(5, 4), "encoder.0.")), Net(), r"encoder.0.weight is \(4, 5\) float32 there"
    )
    refuses(
        encoder(state_of(nn.Linear(5, 4), "a.0."), "a"), Net(), r"encoder.0.weight is \(4, 5\) float32 there"
    )
    refuses(
        encoder({**state_of(Net(), "network."), **state_of(nn.Linear(5, 4), "network.encoder.0.")}),
        Around(Net()),
        r"network.encoder.0.weight is \(4, 5\) float32 there",
    )


def test_numbers_of_another_kind_are_refused() -> None:
    there = {**state_of(Net()), "head.bias": torch.tensor([1])}
    refuses(checkpoint(there), Net(), r"head.bias is \(1,\) int64 there and \(1,\) float32 here")


def test_a_file_of_which_nothing_matches_is_refused() -> None:
    told = (
        "nothing in it matches the network, which has 0.weight, 0.bias; "
        "the file has encoder.1.running_mean, conv.w"
    )
    there = {"encoder.1.running_mean": torch.zeros(4), "conv.w": torch.zeros(1)}
    refuses(checkpoint(there), nn.Sequential(nn.Linear(3, 4)), told)


def test_what_matches_by_name_alone_is_nothing() -> None:
    refuses(encoder({"0.weight": torch.zeros(9)}), nn.Sequential(nn.Linear(3, 4)), "nothing in it matches")


def test_a_part_that_the_file_lacks_is_refused_with_the_nearest() -> None:
    start = encoder(state_of(Net(), "model."), "encodr")
    refuses(start, Net(), r"file.pt:encodr: the file has no part encodr; did you mean (model\.)?encoder\?")
    refuses(encoder(state_of(nn.Linear(1, 1)), "x"), Net(), "the file has no part x; it has none")


def test_two_parts_that_fit_equally_well_are_refused() -> None:
    there = {**state_of(Net(), "student."), **state_of(Net(), "teacher.")}
    told = r"student\. and teacher\. fit equally well; say which, .* --load-encoder-from file.pt:student"
    refuses(checkpoint(there), Net(), told)
    encoder(there, "student").put_into(network := Net())
    assert sevens(network) == list(ENTRIES)


def test_numbers_that_are_none_are_refused() -> None:
    there = state_of(Net())
    there["head.weight"][0, 2] = torch.nan
    refuses(checkpoint(there), Net(), "--load-checkpoint file.pt: head.weight holds NaN")


# Kept in a result directory.


def test_what_is_stored_is_used_without_the_file(tmp_path: Path) -> None:
    results = Results(tmp_path)
    assert Start.stored(results) is None
    start = encoder(state_of(Net(), "model."), "model.encoder")
    start.store(results)
    origin = {"flag": "--load-encoder-from", "file": "file.pt", "part": "model.encoder", "sha256": "0"}
    write_document(results.run_file, {"start": origin})

    stored = Start.stored(results)

    assert stored is not None
    assert str(stored.origin) == "--load-encoder-from file.pt:model.encoder"
    stored.put_into(network := Net())
    assert sevens(network) == list(ENTRIES[:7])


def test_a_store_that_is_missing_is_told_when_it_is_needed(tmp_path: Path) -> None:
    results = Results(tmp_path)
    write_document(results.run_file, {"start": {"flag": "--load-checkpoint", "file": "file.pt"}})
    stored = Start.stored(results)
    assert stored is not None
    with pytest.raises(StorageError, match=r"start\.pt is missing.* or give --load-checkpoint file\.pt"):
        stored.put_into(Net())
