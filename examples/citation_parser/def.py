"""References to fields: author, title, venue, year, volume, pages. An encoder of Hugging Face's transformers.

ENCODER is the folder of the encoder and its tokenizer, from this one:
`ENCODER=/models/scibert python main.py …`.
"""

import json
from pathlib import Path

import lightning
import matplotlib
import numpy as np
import torch
from citations import FIELDS, tagged, words_of
from matplotlib.figure import Figure
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassConfusionMatrix
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from helixband import align_labels
from helixband.env import env

logging.disable_progress_bar()

ENCODER = Path(__file__).parent / env("ENCODER", "encoder")
LENGTH = 160
"""Word pieces of a reference."""
OTHER = FIELDS.index("other")
NO_LABEL = -100

optimized_metric, mode = "val/micro_f1", "max"


def pieces_of(tokenizer, words, fields):
    """(token numbers, mask, labels), (N, LENGTH) each; the first piece of each word has its label."""
    options = {"truncation": True, "max_length": LENGTH, "padding": "max_length"}
    arrays, labels = align_labels(tokenizer, words, fields, **options)
    return [torch.from_numpy(each) for each in (arrays["input_ids"], arrays["attention_mask"], labels)]


class Citations(lightning.LightningDataModule):
    """The references of data_dir; of a file to predict on, a reference a line."""

    def __init__(self, data_dir, batch_size):
        super().__init__()
        self.folder, self.rows = Path(data_dir), batch_size
        self.predict_path = None

    def setup(self, stage):
        self.tokenizer = AutoTokenizer.from_pretrained(ENCODER)

    def read(self, name):
        rows = [json.loads(line) for line in (self.folder / f"{name}.jsonl").read_text("utf-8").splitlines()]
        labels = [[FIELDS.index(field) for field in row["fields"]] for row in rows]
        tokens, mask, y = pieces_of(self.tokenizer, [row["words"] for row in rows], labels)
        return TensorDataset(tokens, mask, y)

    def train_dataloader(self):
        return DataLoader(self.read("train"), self.rows, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.read("val"), 100)

    def test_dataloader(self):
        return DataLoader(self.read("test"), 100)

    def predict_dataloader(self):
        words = [words_of(line) for line in Path(self.predict_path).read_text("utf-8").splitlines()]
        tokens, mask, _ = pieces_of(self.tokenizer, words, [[0] * len(each) for each in words])
        return DataLoader(TensorDataset(tokens, mask), 100)


class Parser(lightning.LightningModule):
    """The encoder, and a field for each of its pieces."""

    def __init__(self, lr, weight_decay):
        super().__init__()
        self.lr, self.weight_decay = lr, weight_decay
        self.encoder = AutoModel.from_pretrained(ENCODER, add_pooling_layer=False)
        self.head = nn.Linear(self.encoder.config.hidden_size, len(FIELDS))
        self.confusion = MulticlassConfusionMatrix(len(FIELDS), ignore_index=NO_LABEL)

    def forward(self, tokens, mask):
        """Logits (N, S, fields)."""
        longest = int(mask.sum(1).max())  # what is behind is padding of all
        hidden = self.encoder(
            input_ids=tokens[:, :longest], attention_mask=mask[:, :longest]
        ).last_hidden_state
        return nn.functional.pad(self.head(hidden), (0, 0, 0, tokens.shape[1] - longest))

    def training_step(self, batch, number):
        tokens, mask, labels = batch
        loss = nn.functional.cross_entropy(self(tokens, mask).transpose(1, 2), labels, ignore_index=NO_LABEL)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(tokens))
        return loss

    def validation_step(self, batch, number):
        self.judge("val", batch)

    def test_step(self, batch, number):
        self.judge("test", batch)

    def judge(self, name, batch):
        tokens, mask, labels = batch
        logits = self(tokens, mask).transpose(1, 2)
        loss = nn.functional.cross_entropy(logits, labels, ignore_index=NO_LABEL)
        self.log(f"{name}/loss", loss, batch_size=len(tokens))
        self.confusion.update(logits.argmax(1), labels)

    def on_validation_epoch_end(self):
        self.tell("val")

    def on_test_epoch_end(self):
        draw(self.tell("test"), env("CONFUSION", "confusion.png"))

    def tell(self, name):
        counts = self.confusion.compute().cpu().numpy()
        self.confusion.reset()
        for key, value in scores(counts).items():
            self.log(f"{name}/{key}", value)
        return counts

    def predict_step(self, batch, number=0):
        """Probabilities (N, S, fields)."""
        return self(batch[0], batch[1]).softmax(-1)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), self.lr, weight_decay=self.weight_decay)


def scores(counts):
    """F1 over all words of a field, and the mean of those of each field; other is none of them.

    counts: (fields, fields) true by predicted.
    """
    right, true, found = np.diag(counts), counts.sum(1), counts.sum(0)
    fields = [number for number in range(len(FIELDS)) if number != OTHER]
    micro = 2 * right[fields].sum() / max(true[fields].sum() + found[fields].sum(), 1)
    macro = np.mean([2 * right[n] / max(true[n] + found[n], 1) for n in fields])
    return {"micro_f1": float(micro), "macro_f1": float(macro)}


def draw(counts, path):
    """The confusion matrix as a picture: the share of the words of each true field."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(6, 5.5), layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(FIELDS)), FIELDS, rotation=45, ha="right")
        axes.set_yticks(range(len(FIELDS)), FIELDS)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        for (row, column), share in np.ndenumerate(shares):
            color = "white" if share > 0.5 else "black"
            axes.text(column, row, f"{share:.2f}", ha="center", va="center", color=color)
        figure.savefig(path, dpi=120)


def get_datamodule(data_dir, batch_size):
    return Citations(data_dir, batch_size)


def get_config():
    return {"lr": 2e-3, "weight_decay": 0.01}


def get_module(config):
    return Parser(config["lr"], config["weight_decay"])


def predict_texts(predict, texts):
    """Of each reference: the text with tags, its tokens, and the tag of each."""
    words = [words_of(text) for text in texts]
    tokenizer = AutoTokenizer.from_pretrained(ENCODER)
    # Each word's label is its own number, which tells its first piece.
    tokens, mask, places = pieces_of(tokenizer, words, [list(range(len(each))) for each in words])
    likely = predict((tokens, mask)).argmax(-1)
    parsed = []
    for text, own, of_pieces, numbers in zip(texts, words, likely, places.numpy(), strict=True):
        tags = ["other"] * len(own)  # of words that were cut off
        for number, field in zip(numbers[numbers >= 0], of_pieces[numbers >= 0], strict=True):
            tags[number] = FIELDS[field]
        parsed.append({"tagged": tagged(text, tags), "tokens": own, "tags": tags})
    return parsed
