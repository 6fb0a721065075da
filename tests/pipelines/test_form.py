"""The form of sequences that a bundle records reads a file as the training data were read."""

import json
from pathlib import Path

import numpy as np

from batch_generator import IntervalBatchGenerator
from helixband.pipelines.form import form_like, read_form
from helixband.sequence.interval_files import read_bed, read_gff


def test_intervals_are_read_by_their_summits_or_kinds_where_those_for_training_were(tmp_path: Path) -> None:
    genome, peaks, genes = (tmp_path / name for name in ("g.fa", "x.narrowPeak", "x.gff3"))
    genome.write_text(">chr1\nAACCGGTTAC\n")
    peaks.write_text("chr1\t0\t10\tpeak\t0\t.\t1\t1\t1\t3\n")
    genes.write_text("chr1\ts\tgene\t3\t6\t.\t+\t.\t.\nchr1\ts\texon\t5\t8\t.\t+\t.\t.\n")
    starts = []
    for path, intervals in ((peaks, read_bed(peaks, summits=True)), (genes, read_gff(genes, kinds="gene"))):
        trained = IntervalBatchGenerator(str(genome), intervals, window=4)
        form = read_form(json.loads(json.dumps(form_like(trained).document())))
        made = form.generator(str(path), str(genome))
        starts.append(made.regions(np.arange(made.n_examples))[1].tolist())
    assert starts == [[1], [2]]
