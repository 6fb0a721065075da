"""Masked-token pretraining: what is changed, what counts, and what a network can learn of it."""

from argparse import Namespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Project
from torch import Tensor, nn, optim

from batch_generator import MatrixBatchGenerator
from helixband import Corruption, MaskedTokenModel
from helixband.errors import DataError, DefinitionError
from helixband.metrics.tokens import MISSING as NO
from helixband.sequence.alphabet import DNA, Alphabet
from helixband.tasks.corruption import KINDS

BERT = Corruption(mask=0.12, random=0.015, keep=0.015)


def drawn(rows: int, length: int, seed: int = 0, high: int = 4) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, high, (rows, length), np.uint8))


class Embedding(nn.Module):
    """Indexes (N, S) to logits (N, 4, S), by what stands at the position and beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(DNA), 16)
        self.layers = nn.Sequential(nn.Conv1d(16, 32, 3, padding=1), nn.ReLU(), nn.Conv1d(32, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(self.embedding(x.long()).transpose(1, 2))
        return logits


class Model(MaskedTokenModel):
    def init_model(self) -> None:
        network = Embedding()
        super().init_model(network, optim.Adam(network.parameters(), 0.02))


def model_of(kind: type[MaskedTokenModel] = Model, seed: int = 0) -> MaskedTokenModel:
    torch.manual_seed(0)
    return kind({}, Namespace(cpu=True, batch_size=50, seed=seed))


# What is changed.


def test_a_share_of_the_tokens_is_masked_another_replaced_another_kept() -> None:
    x = drawn(400, 500)
    changed, kind = BERT(x, seed=3)
    shares = {name: (kind == number).double().mean().item() for name, number in KINDS.items()}
    assert shares == pytest.approx({"mask": 0.12, "random": 0.015, "keep": 0.015}, abs=0.003)
    assert (changed[kind == KINDS["mask"]] == DNA.mask).all()
    assert (changed[kind == KINDS["random"]] != x[kind == KINDS["random"]]).all()
    same = (kind == 0) | (kind == KINDS["keep"])
    assert (changed[same] == x[same]).all()
    assert changed.dtype == x.dtype and (kind.dtype, kind.shape) == (torch.uint8, x.shape)


def test_a_random_token_is_each_of_the_others_equally_often() -> None:
    changed, _ = Corruption(random=1.0)(torch.full((100, 300), 2, dtype=torch.uint8), seed=0)
    assert (torch.bincount(changed.flatten(), minlength=4) / 30000).tolist() == pytest.approx(
        [1 / 3, 1 / 3, 0, 1 / 3], abs=0.01
    )


def test_control_tokens_are_never_chosen() -> None:
    x = torch.tensor([[0, 4, 5, 3]])
    changed, kind = Corruption(mask=1.0)(x, seed=0)
    assert changed.tolist() == [[5, 4, 5, 5]] and kind.tolist() == [[1, 0, 0, 1]]


def test_an_alphabet_has_a_mask_of_its_own() -> None:
    codons = Alphabet(["ATG", "TAA", "GGC"], ["[NO]", "[HID]"], empty="[NO]", mask="[HID]")
    assert Corruption(mask=1.0, alphabet=codons)(torch.tensor([[2, 3]]), seed=0)[0].tolist() == [[4, 3]]


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ({"mask": 1.5}, r"mask=1.5; it has to be a share of the tokens, from 0 to 1"),
        ({"keep": -0.1}, r"keep=-0.1; it has to be a share"),
        ({"random": "a lot"}, r"random='a lot'; it has to be a share"),
        ({"mask": float("nan")}, r"mask=nan; it has to be a share"),
        (
            {"mask": 0.8, "random": 0.2, "keep": 0.1},
            r"mask=0.8, random=0.2, keep=0.1, which are 1.1 together",
        ),
        ({"mask": 0.1, "alphabet": Alphabet("AB")}, r"has no mask token"),
        ({"mask": 0.1, "alphabet": "ACGT"}, r"alphabet='ACGT'; it has to be an Alphabet"),
        ({"random": 0.1, "alphabet": Alphabet("A")}, r"has one token alone"),
    ],
)
def test_shares_that_cannot_be_are_refused(shares: dict[str, Any], told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        Corruption(**shares)


def test_shares_of_one_together_are_taken() -> None:
    assert (Corruption(mask=0.7, random=0.2, keep=0.1)(drawn(20, 50), seed=0)[1] > 0).all()


# The batch.


def test_the_source_is_changed_and_the_target_kept() -> None:
    x = np.array([[0, 1, 2, 3, 4]] * 200, np.uint8)
    changed, y = model_of().split_batch(x)
    chosen = y["kind"] != 0
    assert torch.equal(y["token"] != -100, chosen)
    assert torch.equal(y["token"][chosen], torch.from_numpy(x)[chosen].to(torch.int16))
    assert not chosen[:, 4].any() and (changed[:, 4] == 4).all()
    assert (x == [[0, 1, 2, 3, 4]] * 200).all()
    assert changed.dtype == torch.uint8


def test_labels_are_not_used_and_metadata_stay() -> None:
    x = drawn(30, 20)
    of_x, _ = model_of().split_batch(x)
    of_pair, _ = model_of().split_batch((x, torch.zeros(30)))
    of_dict, _ = model_of().split_batch({"x": x, "metadata": torch.arange(60).reshape(30, 2)})
    assert torch.equal(of_x, of_pair) and torch.equal(of_x, of_dict["x"])
    assert of_dict["metadata"][29].tolist() == [58, 59]


def test_masks_are_of_the_seed_the_epoch_and_the_batch() -> None:
    x, model = drawn(30, 20), model_of()
    before = torch.get_rng_state()
    first = model.split_batch(x)[0]
    assert torch.equal(model.split_batch(x)[0], first) and torch.equal(torch.get_rng_state(), before)
    model.epoch = 1
    assert not torch.equal(model.split_batch(x)[0], first)
    assert not torch.equal(model_of(seed=1).split_batch(x)[0], first)
    assert torch.equal(model_of().split_batch(x)[0], first)


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (np.zeros((2, 4, 10), np.float32), r"shape \(2, 4, 10\) and the type torch.float32; .* indexes"),
        (np.zeros((2, 10), np.float32), r"shape \(2, 10\) and the type torch.float32"),
        (np.array([[0, 1], [2, 6]], np.uint8), r"row 1 of x has the index 6 at position 1 \(from 0\)"),
        (np.array([[0, -1]]), r"row 0 of x has the index -1 at position 1"),
    ],
)
def test_an_x_that_is_no_tokens_is_refused(x: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        model_of().split_batch(x)


def test_logits_of_another_shape_are_refused() -> None:
    class Wrong(MaskedTokenModel):
        def init_model(self) -> None:
            super().init_model(nn.Sequential(nn.Embedding(6, 4)))  # (N, S, V)

    with pytest.raises(DefinitionError, match=r"the shape \(8, 30, 4\) for .* \(8, 30\); .* \(8, 4, 30\)"):
        model_of(Wrong).evaluate(MatrixBatchGenerator(drawn(8, 30).long()))


# Loss and metrics.


class Fixed(nn.Module):
    """Gives the same logits at each position."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits[None, :, None].expand(len(x), -1, x.shape[1])


class OfFixed(MaskedTokenModel):
    def init_model(self) -> None:
        shares = torch.tensor([0.4, 0.3, 0.2, 0.1])
        super().init_model(Fixed(shares.log().tolist()), corruption=Corruption(mask=0.5, keep=0.1))


def test_the_loss_is_the_mean_over_the_chosen_positions_of_all_batches() -> None:
    x, model = drawn(40, 25), model_of(OfFixed)
    token = model.split_batch(x)[1]["token"].numpy()
    p = np.array([0.4, 0.3, 0.2, 0.1])[token[token >= 0]]
    whole = model.evaluate(MatrixBatchGenerator(x))
    assert whole.loss == pytest.approx(-np.log(p).mean(), rel=1e-6)
    assert whole.perplexity == pytest.approx(np.exp(-np.log(p).mean()), rel=1e-6)
    assert whole.accuracy == pytest.approx((token[token >= 0] == 0).mean())


def test_accuracies_are_told_by_kind_and_by_token() -> None:
    model = model_of(OfFixed)
    token = np.array([[0, 0, 1, -100, 2]])
    kind = np.array([[1, 3, 1, 0, 1]], np.uint8)
    y_pred = np.zeros((1, 4, 5))
    y_pred[0, [0, 1, 1, 0, 2], range(5)] = 1.0  # says A, C, C, A, G
    found = model.eval_metrics({"token": token, "kind": kind}, y_pred)
    assert {name: found[name] for name in ("accuracy", "accuracy_mask", "accuracy_keep")} == {
        "accuracy": 0.75,
        "accuracy_mask": 1.0,
        "accuracy_keep": 0.0,
    }
    assert "accuracy_random" not in found  # of which there are none
    assert (found["accuracy_A"], found["accuracy_C"], found["accuracy_G"]) == (0.5, 1.0, 1.0)
    assert np.isnan(found["accuracy_T"])


def test_a_batch_without_a_chosen_position_trains_nothing() -> None:
    model = model_of()
    before = [each.detach().clone() for each in model.network.parameters()]
    loss, _ = model.train_step(*model.split_batch(torch.full((20, 10), DNA.empty)))
    assert float(loss) == 0.0
    assert all(map(torch.equal, before, model.network.parameters()))


def test_a_corruption_that_chooses_nothing_is_refused() -> None:
    class Nothing(MaskedTokenModel):
        def init_model(self) -> None:
            super().init_model(Embedding(), corruption=Corruption())

    with pytest.raises(DefinitionError, match="Nothing chooses no token, so there is nothing to restore"):
        model_of(Nothing)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"corruption": 0.15}, "corruption of Given is 0.15; it has to be a Corruption"),
        ({"corrupts_evaluation": "no"}, "corrupts_evaluation of Given is 'no'; it has to be True or False"),
    ],
)
def test_settings_of_another_kind_are_refused(given: dict[str, Any], told: str) -> None:
    class Given(MaskedTokenModel):
        def init_model(self) -> None:
            super().init_model(Embedding())

    for name, value in given.items():
        setattr(Given, name, value)
    with pytest.raises(DefinitionError, match=told):
        model_of(Given)


def test_a_dict_without_its_indexes_is_refused() -> None:
    with pytest.raises(DataError, match="x is a dict of ids, metadata; its indexes have to be under 'x'"):
        model_of().split_batch({"ids": drawn(2, 3), "metadata": torch.zeros(2, 2)})


def test_an_epoch_goes_on_with_the_same_masks_and_a_validation_depends_on_its_epoch_alone() -> None:
    train, val = (
        MatrixBatchGenerator(drawn(100, 30), None, 50, shuffle=True),
        MatrixBatchGenerator(drawn(50, 30, 1)),
    )
    together, apart = model_of(), model_of()
    together.fit(train, val, 3)
    apart.fit(train, val, 1)
    torch.rand(7)  # somebody draws in between
    apart.fit(train, val, 3)
    losses = [[row["train_loss"], row["val_loss"]] for row in together.history]
    assert losses == [[row["train_loss"], row["val_loss"]] for row in apart.history]


def test_each_pass_with_dropout_has_the_same_masks() -> None:
    class Dropping(MaskedTokenModel):
        def init_model(self) -> None:
            super().init_model(nn.Sequential(Fixed([1.0, 2.0, 3.0, 4.0]), nn.Dropout(0.5)))

        def eval_metrics(self, y_true: Any, y_pred: Any) -> dict[str, float]:
            return {"places": float(np.flatnonzero(y_true["kind"]).sum())}

    found = model_of(Dropping).evaluate_mc(MatrixBatchGenerator(drawn(20, 30)), 3)
    assert found["places"] > 0 and found["places_std"] == 0.0


# What can be learned: the second of each pair of tokens is the complement of the first.


def pairs(rows: int, seed: int) -> Tensor:
    first = drawn(rows, 20, seed)
    return torch.stack([first, 3 - first], 2).reshape(rows, 40)


def test_the_planted_optimum_is_reached() -> None:
    class Paired(MaskedTokenModel):
        corruption = Corruption(mask=0.1)

        def init_model(self) -> None:
            network = nn.Sequential(Pairs(), Embedding())
            super().init_model(network, optim.Adam(network.parameters(), 0.02))

    train = MatrixBatchGenerator(pairs(400, 0), None, 50, shuffle=True)
    model = model_of(Paired)
    model.fit(train, MatrixBatchGenerator(pairs(200, 1)), 12)
    # A token is not known if the other of its pair is masked too: then a fourth is right by chance.
    optimum = 0.9 + 0.1 / 4
    assert model.history[-1]["val_accuracy"] > 0.98 * optimum


class Pairs(nn.Module):
    """Puts the other token of the pair in the place of each."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), -1, 2).flip(2).reshape(len(x), -1)


DEFINITION = """
import torch
from torch import nn, optim

from helixband import Corruption, FastaBatchGenerator, MaskedTokenModel
from helixband.networks.one_hot import OneHot


def read(data_dir, batch_size=None):
    return FastaBatchGenerator(f"{data_dir}/genome.fa", window=50, batch_size=batch_size, shuffle=True)


def get_train_generator(data_dir, batch_size):
    return read(data_dir, batch_size).split(by="ratio", val=0.2, test=0.2)[:2]


def get_test_generator(data_dir):
    return read(data_dir).split(by="ratio", val=0.2, test=0.2)[2]


def get_config():
    return {"lr": 0.01}


class Model(MaskedTokenModel):
    def init_model(self):
        network = nn.Sequential(OneHot(6), nn.Conv1d(6, 16, 5, padding=2), nn.ReLU(), nn.Conv1d(16, 4, 1))
        optimizer = optim.Adam(network.parameters(), self.config["lr"])
        super().init_model(network, optimizer, corruption=Corruption(mask=0.12, random=0.03))
"""


def test_a_genome_without_labels_is_trained_tested_and_predicted(project: Project) -> None:
    text = "".join(np.random.default_rng(0).choice(list("ACGT"), 5000))
    project.definition.write_text(DEFINITION)
    (project.data / "genome.fa").write_text(f">chr1\n{text}\n")
    done = project.run("--epoch", "2", "--eval", "--predict", "genome.fa", "--format", "npy")
    assert done.code == 0, done.out + done.err
    found = project.json("test_result.json")
    accuracies = {f"accuracy_{name}" for name in ("mask", "random", *"ACGT")}
    assert set(found) == {"loss", "accuracy", "perplexity", *accuracies}
    assert found["perplexity"] == pytest.approx(np.exp(found["loss"]), rel=1e-4)
    assert np.load(project.results / "predictions" / "genome.fa.npy").shape == (100, 4, 50)


def test_records_of_different_lengths_are_trained_tested_and_predicted(project: Project) -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACGT"), rng.integers(6, 40))) for _ in range(60)]
    (project.data / "genome.fa").write_text("".join(f">{n}\n{text}\n" for n, text in enumerate(texts)))
    text = DEFINITION.replace("window=50", 'unequal="bucket"')
    text = text.replace('read(data_dir).split(by="ratio", val=0.2, test=0.2)[2]', "read(data_dir, 8)")
    project.definition.write_text(text)
    done = project.run("--epoch", "1", "--eval", "--predict", "genome.fa", "--format", "npy")
    assert done.code == 0, done.out + done.err
    found = project.json("test_result.json")
    assert found["perplexity"] == pytest.approx(np.exp(found["loss"]), rel=1e-4)
    tested = np.load(project.results / "test_predictions.npz")
    lengths = (tested["y_pred"] >= 0).all(1).sum(1)
    assert len(set(lengths)) > 1 and lengths.max() == tested["y_true.token"].shape[1]
    predicted = np.load(project.results / "predictions" / "genome.fa.npy")
    assert predicted.shape == (60, 4, max(map(len, texts)))


def test_pictures_are_of_what_was_given_restored_and_true() -> None:
    class Model(MaskedTokenModel):
        def init_model(self) -> None:
            super().init_model(nn.Identity(), None)

    # A mask, a replaced token, one that is kept, an untouched one and an N; of the first, T is said.
    given = torch.tensor([[5, 0, 2, 3, 4]], dtype=torch.uint8)
    y = {"token": np.array([[0, 1, 2, NO, NO]], np.int16), "kind": np.array([[1, 2, 3, 0, 0]], np.uint8)}
    y_pred = np.full((1, 4, 5), 0.1)
    y_pred[0, [3, 1, 2, 3, 3], range(5)] = 0.7
    found = Model().pictures({"x": given}, y, y_pred)["example 1"]
    assert found.rows == ("given", "restored", "true")
    assert found.texts is not None and found.texts.tolist() == [
        ["_", "A", "G", "T", "·"],
        ["T", "C", "G", "T", "T"],
        ["A", "C", "G", "", ""],
    ]
    nan = np.nan
    expected = [[0.6, 0.4, 0.2, 0, 0], [-0.7, 0.7, 0.7, nan, nan], [0] * 5]
    np.testing.assert_allclose(found.values, np.array(expected, np.float32))
