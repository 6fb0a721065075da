"""Prediction on both strands: what is predicted along a window is turned back before it is averaged."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from base_model import BaseModel
from batch_generator import FastaBatchGenerator
from helixband.errors import DataError, DefinitionError
from helixband.metrics import profile_pearson
from helixband.networks import ReverseComplementEquivariant
from helixband.networks.one_hot import OneHot
from helixband.outputs.windows import WindowPredictor, predict_windows, try_windows
from helixband.results.directory import Results
from helixband.sequence.alphabet import DNA, Alphabet
from helixband.tasks import (
    Corruption,
    DenoisingAutoencoder,
    MaskedTokenModel,
    ProfileModel,
    TokenClassificationModel,
)

A, T = 0, 3
FILES = {
    "windows": (">a\nACGTTGCAAACCGTAGGCTATTTACG\n", {"window": 8}),
    "windows that are filled up": (
        ">a\nACGTTGCAAACCGTAGGCTAT\n>b\nACG\n",
        {"window": 8, "incomplete": "pad"},
    ),
    "records": (">a\nACGTTGCAAACCG\n>b\nACGTT\n>c\nGGCTAAC\n", {"unequal": "bucket"}),
}


class AlongWindows(BaseModel):
    """Gives what its network does, positions along the last axis."""

    def init_model(self) -> None:
        super().init_model(self.config["network"], nn.MSELoss(), None)

    def other_strand(self, y_pred: Any, turned: Callable[[Any], Any]) -> Any:
        return turned(y_pred)


class Scores(AlongWindows):
    other_strand = BaseModel.other_strand


class Codes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float()


class Square(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ones(len(x), 2, 2)


class NoiseAtFirst(nn.Module):
    """Random numbers at the first position that it is given, and 0 at all others."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        first = torch.zeros(x.shape)
        first[:, 0] = 1
        return self.dropout(first)


class Reads(nn.Module):
    """Nine reads of the + strand at each A, and nine of the − strand at each T."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        counts = torch.stack([x == A, x == T], dim=1) * 9 + 1e-6
        return {"profile": counts.log(), "log_count": counts.sum(-1).log1p()}


def model(kind: type[BaseModel], network: nn.Module) -> BaseModel:
    return kind({"network": network}, Namespace(cpu=True))


def fasta(path: Path, text: str, **options: Any) -> FastaBatchGenerator:
    path.write_text(text)
    return FastaBatchGenerator(str(path), **options)


def predicted(of: BaseModel, data: FastaBatchGenerator, both_strands: bool) -> Any:
    return WindowPredictor(of, data, both_strands).predict(0, data.n_examples)[""]


def equivariant(network: nn.Module, strands: list[int] | None) -> nn.Module:
    return ReverseComplementEquivariant(network, strands=strands, padding=DNA.empty)


def logits(outputs: int) -> nn.Module:
    """A network that gives logits (N, outputs, L)."""
    torch.manual_seed(0)
    return nn.Sequential(OneHot(len(DNA)), nn.Conv1d(len(DNA), outputs, 3, padding=1))


class Profiles(nn.Module):
    """Gives profiles (N, T, L) of some tracks, and their counts."""

    def __init__(self, tracks: int) -> None:
        super().__init__()
        self.logits = logits(tracks)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        profile = self.logits(x)
        return {"profile": profile, "log_count": profile.mean(-1).exp()}


def of_task(kind: Any, network: nn.Module) -> BaseModel:
    """A model of a task around a network."""

    class Model(kind):  # type: ignore[misc]
        def init_model(self) -> None:
            super().init_model(network)

    made: BaseModel = Model({}, Namespace(cpu=True))
    return made


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    ("kind", "outputs", "strands"),
    [
        (TokenClassificationModel, 3, None),
        (MaskedTokenModel, 4, [3, 2, 1, 0]),
        (DenoisingAutoencoder, 4, [3, 2, 1, 0]),
    ],
)
def test_a_network_that_is_the_same_of_both_strands_predicts_the_same_on_both(
    tmp_path: Path, kind: Any, outputs: int, strands: list[int] | None, file: str
) -> None:
    text, options = FILES[file]
    data = fasta(tmp_path / "x.fa", text, **options)
    of = of_task(kind, equivariant(logits(outputs), strands))

    assert np.allclose(predicted(of, data, True), predicted(of, data, False), atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("tracks", [1, 2])
def test_profiles_of_such_a_network_are_the_same_on_both(tmp_path: Path, tracks: int) -> None:
    data = fasta(tmp_path / "x.fa", FILES["windows"][0], window=8)
    of = of_task(ProfileModel, equivariant(Profiles(tracks), [1, 0] if tracks == 2 else None))

    assert np.allclose(predicted(of, data, True), predicted(of, data, False), atol=1e-6)


@pytest.mark.parametrize("file", ["windows", "windows that are filled up"])
def test_an_exact_profile_of_two_strands_stays_exact(tmp_path: Path, file: str) -> None:
    text, options = FILES[file]
    data = fasta(tmp_path / "x.fa", text, **options)
    x = data.x(np.arange(data.n_examples))
    true = np.stack([x == A, x == T], axis=1) * 9.0

    y_pred = predicted(of_task(ProfileModel, Reads()), data, True)

    assert profile_pearson(true, y_pred) == pytest.approx(1, abs=1e-6)


def test_positions_of_the_other_strand_are_turned_and_padding_stays_behind(tmp_path: Path) -> None:
    data = fasta(tmp_path / "x.fa", ">a\nAAAATCNN\n", window=5, incomplete="pad")

    # AAAAT is 00003, and ATTTT 03333; CNN is 144 and padding 44, and NNG 442 and padding.
    assert predicted(model(AlongWindows, Codes()), data, True).tolist() == [
        [1.5, 1.5, 1.5, 1.5, 1.5],
        [1.5, 4, 4, 4, 4],
    ]
    assert predicted(model(AlongWindows, Codes()), data, False)[1].tolist() == [1, 4, 4, 4, 4]


def test_the_spread_of_passes_with_dropout_is_turned_too(tmp_path: Path) -> None:
    data = fasta(tmp_path / "x.fa", ">a\nACGT\n", window=4)
    predictor = WindowPredictor(model(AlongWindows, NoiseAtFirst()), data, both_strands=True, mc_dropout=50)

    spread = predictor.predict(0, 1)[".std"][0]

    assert (spread > 0).tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("network", "shape"), [(Codes(), r"of a window of 4 bases has the shape \(4,\)"), (Square(), r"\(2, 2\)")]
)
def test_predictions_along_windows_are_refused_if_nothing_says_how_they_are_turned(
    tmp_path: Path, network: nn.Module, shape: str
) -> None:
    data = fasta(tmp_path / "x.fa", ">a\nACGTACGTACGT\n", window=4)
    predictor, told = WindowPredictor(model(Scores, network), data, both_strands=True), []

    with pytest.raises(DefinitionError, match=rf"{shape}.*give Scores an other_strand\(self, y_pred, turned"):
        predict_windows(
            predictor, Results(tmp_path / "results"), "x", {}, on_chunk=lambda done, total: told.append(done)
        )
    assert told == []
    with pytest.raises(DefinitionError, match=shape):
        try_windows(predictor, ["npy"], 1)


class Pooled(nn.Module):
    """Numbers of windows, (N, K), of positions (N, K', L) that a network gives: some statistic of all."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(OneHot(len(DNA)), *layers)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layers(x)
        return scores


class Towers(nn.Module):
    """A network for each of four tasks, of which a few positions alone have a large score."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.towers = nn.ModuleList(
            nn.Sequential(OneHot(len(DNA)), nn.Conv1d(len(DNA), 1, 5), nn.ReLU()) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([tower(x).amax((1, 2)) for tower in self.towers], dim=1)


class LastOfAll(nn.Module):
    """The last state of a recurrent network."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one_hot, self.gru = OneHot(len(DNA)), nn.GRU(len(DNA), 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        state: Tensor = self.gru(self.one_hot(x).transpose(1, 2))[1][0]
        return state


BINS = {
    "means of bins": lambda: Pooled(nn.AvgPool1d(5), nn.Conv1d(len(DNA), 1, 1), nn.Flatten()),
    "bins whose surroundings are seen": lambda: Pooled(
        nn.Conv1d(len(DNA), 1, 21, padding=10), nn.AvgPool1d(5), nn.Flatten()
    ),
    "positions without those at the ends": lambda: Pooled(nn.Conv1d(len(DNA), 1, 11), nn.Flatten()),
}
SCORES = {
    "maxima": lambda: Pooled(
        nn.Conv1d(len(DNA), 8, 9), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(8, 10)
    ),
    "means": lambda: Pooled(nn.Conv1d(len(DNA), 10, 9), nn.AdaptiveAvgPool1d(1), nn.Flatten()),
    "all positions": lambda: Pooled(nn.Flatten(), nn.Linear(len(DNA) * 50, 10)),
    "classes": lambda: Pooled(nn.Flatten(), nn.Linear(len(DNA) * 50, 3), nn.Softmax(dim=1)),
    "networks of their own": Towers,
    "a recurrent network": LastOfAll,
}


def windows_of_50(path: Path, **options: Any) -> FastaBatchGenerator:
    return fasta(path / "x.fa", ">chr1\n" + "ACGTTGCAAACCGTAGGCTATTTAC" * 8 + "\n", window=50, **options)


@pytest.mark.parametrize("bins", BINS)
@pytest.mark.parametrize("layout", [{}, {"metadata": True}])
def test_bins_along_windows_are_refused_as_positions_are(
    tmp_path: Path, bins: str, layout: dict[str, Any]
) -> None:
    network = BINS[bins]()
    if layout:
        network = nn.Sequential(TakesX(), network)
    data, results = windows_of_50(tmp_path, **layout), Results(tmp_path / "results")
    scores, turning = model(Scores, network), model(AlongWindows, network)

    with pytest.raises(DefinitionError, match=r"of a window of 50 bases has the shape.*other_strand"):
        try_windows(WindowPredictor(scores, data, both_strands=True), ["npy"], 1)
    for of in (scores, turning):
        with pytest.raises(DataError, match="bw has scores of whole windows, and y_pred lies along them"):
            predict_windows(WindowPredictor(of, data), results, "x", {}, ["bw"])
    predict_windows(WindowPredictor(turning, data, both_strands=True), results, "x", {})


class TakesX(nn.Module):
    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return x["x"]


@pytest.mark.parametrize("scores", SCORES)
def test_scores_of_windows_are_averaged_column_by_column(tmp_path: Path, scores: str) -> None:
    data, of = windows_of_50(tmp_path), model(Scores, SCORES[scores]())
    results = Results(tmp_path / "results")

    predict_windows(WindowPredictor(of, data, both_strands=True), results, "x", {}, ["npy", "bw"])

    x = torch.from_numpy(np.concatenate([data.x(np.arange(4)), data.x(np.arange(4), other_strand=True)]))
    with torch.no_grad():
        each = of.network(x).reshape(2, 4, -1)
    assert np.allclose(np.load(results.predictions / "x.npy"), each.mean(0), atol=1e-6)


def test_what_tells_bins_from_scores_leaves_no_trace(tmp_path: Path) -> None:
    class Counting(Pooled):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += len(x)
            return super().forward(x)

    network = Counting(nn.Flatten(), nn.Linear(len(DNA) * 50, 4))
    data, of = windows_of_50(tmp_path), model(Scores, network)

    try_windows(WindowPredictor(of, data.part(np.arange(1)), both_strands=True), ["npy"], 1)

    assert network.calls == 2  # the window on both strands


def test_predictions_along_records_are_refused_so_and_scores_as_many_as_bases_are_not(tmp_path: Path) -> None:
    data = fasta(tmp_path / "x.fa", ">a\nACGT\n>b\nAC\n", unequal="bucket")
    along, scores = model(Scores, Codes()), model(Scores, nn.Sequential(Codes(), nn.AdaptiveAvgPool1d(4)))
    results = Results(tmp_path / "results")

    with pytest.raises(DefinitionError, match="give Scores an other_strand"):
        predict_windows(WindowPredictor(along, data, both_strands=True), results, "x", {})
    predict_windows(WindowPredictor(scores, data, both_strands=True), results, "x", {})

    assert np.load(results.predictions / "x.npy").shape == (2, 4)


def test_profiles_of_more_tracks_than_two_need_their_own_other_strand(tmp_path: Path) -> None:
    data = fasta(tmp_path / "x.fa", ">a\nACGTACGT\n", window=8)
    of = of_task(ProfileModel, Profiles(3))

    with pytest.raises(DefinitionError, match="the profiles have 3 tracks"):
        try_windows(WindowPredictor(of, data, both_strands=True), ["npy"], 1)


def test_tokens_of_an_alphabet_without_complement_have_no_other_strand(tmp_path: Path) -> None:
    data = fasta(tmp_path / "x.fa", ">a\nACGTACGT\n", window=8)

    class Model(MaskedTokenModel):
        corruption = Corruption(random=0.1, alphabet=Alphabet("ACGT", ["N", "[MASK]"], empty="N"))

    of = of_task(Model, logits(4))

    with pytest.raises(DataError, match="of the Corruption, has no complement"):
        try_windows(WindowPredictor(of, data, both_strands=True), ["npy"], 1)
