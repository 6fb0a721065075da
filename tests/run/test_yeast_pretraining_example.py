"""The example that pretrains on a genome and then finds binding sites, on a small part of its data."""

import numpy as np
from conftest import ROOT, Project

EXAMPLE = ROOT / "examples/yeast_pretraining"
SHORT = ["--eval", "--batch-size", "16", "--with", "limit_train=4"]


def write_genome(project: Project) -> None:
    """Six chromosomes, with five peaks each."""
    bases, lines = np.random.default_rng(0).choice(list("ACGT"), (6, 10_000)), []
    with open(project.data / "genome.fa", "w") as genome:
        for number, row in enumerate(bases, 1):
            genome.write(f">chr{number}\n{''.join(row)}\n")
            lines += [f"chr{number}\t{place}\t{place + 1}\n" for place in range(1000, 6000, 1000)]
    (project.data / "peaks.bed").write_text("".join(lines))


def test_what_is_learned_from_the_genome_begins_the_classifier(project: Project) -> None:
    write_genome(project)
    done = project.run("--model", str(EXAMPLE / "pretrain.py"), "--epoch", "2", *SHORT)
    assert done.code == 0, done.err
    assert {"accuracy_mask", "accuracy_G", "perplexity"} <= set(project.json("test_result.json"))

    weights = str(project.results / "trials/single/checkpoints/best.pt")
    project.results = project.path / "finetuned"
    flags = ["--load-encoder-from", weights, "--epoch", "1", *SHORT]
    done = project.run("--model", str(EXAMPLE / "finetune.py"), *flags)
    assert done.code == 0, done.err
    assert 0 <= project.json("test_result.json")["auroc"] <= 1
    loaded = project.json("trials/single/start.json")["loaded"]
    assert "network.encoder.first.convolution.weight" in loaded
    assert all(name.startswith("network.encoder.") for name in loaded)
