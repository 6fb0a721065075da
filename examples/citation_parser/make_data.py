"""Make references in five styles, and a small encoder whose word pieces are of these.

    python make_data.py --citations 3000

It writes data/{train,val,test}.jsonl, a reference a line, and the folder encoder/ in the form of Hugging
Face's transformers: a BERT that is not trained, with its tokenizer.
"""

import argparse
import json
import random
from pathlib import Path

import torch
from citations import citation, labelled
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--citations", type=int, default=3000, help="how many for training")
    parser.add_argument("--folder", type=Path, default=Path(), help="where data/ and encoder/ go [.]")
    args = parser.parse_args()
    rng = random.Random(0)
    (args.folder / "data").mkdir(parents=True, exist_ok=True)
    texts = []
    for name, count in (("train", args.citations), ("val", 300), ("test", 500)):
        rows = [labelled(citation(rng)) for _ in range(count)]
        lines = [json.dumps({"text": text, "words": words, "fields": fields}) for text, words, fields in rows]
        (args.folder / "data" / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        texts += [text for text, _, _ in rows] if name == "train" else []
    make_encoder(texts, args.folder / "encoder")


def make_encoder(texts: list[str], folder: Path) -> None:
    """A BERT of two layers, untrained, and the word pieces of some texts."""
    pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer(lowercase=False)
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=2000, special_tokens=list(SPECIAL.values()), show_progress=False
    )
    pieces.train_from_iterator(texts, trainer)
    ends = [(name, pieces.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    pieces.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    PreTrainedTokenizerFast(tokenizer_object=pieces, **SPECIAL).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=pieces.get_vocab_size(),
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=192,
        max_position_embeddings=256,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)


if __name__ == "__main__":
    main()
