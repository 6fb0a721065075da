"""The export of a result directory as a bundle."""

import json
import os
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from helixband import __version__
from helixband.env import has_credential, without_credentials
from helixband.errors import HelixbandError, UsageError
from helixband.files import exists, read_whole, write_whole
from helixband.nested import map_leaves, named_leaves
from helixband.outputs.windows import is_windowed
from helixband.pipelines import bundle, code, graph, state
from helixband.pipelines.card import card
from helixband.pipelines.form import Form, form_of
from helixband.pipelines.loading import Source
from helixband.pipelines.predictor import Predictor
from helixband.results.directory import existing_results
from helixband.training.feed import labelled, unlabelled
from helixband.training.start import WEIGHTS
from helixband.training.weighting import split_of

EXAMPLES = 16
"""Of real inputs, on which a graph is checked."""

MODULE = '''\
"""`predict` of the bundle {name}, which lies beside this file."""

import functools
from pathlib import Path
from typing import Any

from helixband.pipelines import load


@functools.cache
def _predictor() -> Any:
    return load(Path(__file__).with_name({name!r}), trust=True)  # who imports this file trusts the bundle


def predict(inputs: Any, genome: Any = None) -> Any:
    """y_pred of sequences, texts, the path of a file, or arrays; see docs/pipelines.md of Helixband."""
    return _predictor()(inputs, genome)
'''


@dataclass(frozen=True)
class Options:
    """What an export is asked for beside its places."""

    include: Sequence[str] = ()
    onnx: bool = False
    inputs: str | None = None
    data: str | None = None
    use: str = ""
    as_module: bool = False


def export(result: str | os.PathLike[str], out: str | os.PathLike[str], options: Options) -> list[str]:
    """Make the bundle `out` of a result directory; lines that say what was done.

    Raises `UsageError` where there is no model, or something else at `out`, and what `graph.export` raises.
    """
    place = Path(out).absolute()
    if options.as_module and not re.fullmatch(r"[A-Za-z_]\w*", place.name):
        raise UsageError(f"--as-module: {place.name!r} is no name of a module; give the bundle another name")
    bundle.check_place(place)
    source = Source(existing_results(result), cpu=True, data=options.data)
    form, x, told = _inputs(source, options)
    document = _document(source, form, x)
    sources = code.sources(source.definition, options.include)
    folder = bundle.code_folder(sources)
    document["classes"] = code.classes(source.definition)
    document["definition"] = f"{folder}/{source.definition.path.name}"

    def fill(made: Path) -> None:
        for name, content in sources.items():
            write_whole(made / folder / name, content)
        tensors, rest = state.split(source.state)
        write_whole(made / bundle.WEIGHTS, tensors)
        write_whole(made / bundle.STATE, json.dumps(rest))
        if exists(source.results.calibration_file):
            write_whole(made / bundle.CALIBRATION, read_whole(source.results.calibration_file))
        if options.onnx:
            document["graph"] = graph.export(source.model, x, made / bundle.GRAPH)
        write_whole(made / bundle.CARD, card(place.name, document, _facts(source, options)))

    bundle.write(place, document, fill)
    lines = [*told, f"written to {place}"]
    if (made := document["graph"]) is not None:
        lines.append(
            f"the ONNX graph differs by {made['largest_difference']:.1e} at most, "
            f"on {made['examples']} examples"
        )
    if options.as_module:
        module = place.with_name(f"{place.name}.py")
        write_whole(module, MODULE.format(name=place.name))
        lines.append(f"written to {module}")
    return lines


def _inputs(source: Source, options: Options) -> tuple[Form | None, Any, list[str]]:
    """How sequences are read; a batch of real x, or None, and what there is to say of it."""
    form, reason = source.form(), "there is none of an earlier --predict"
    predictor = source.predictor(form)
    with predictor.as_in_training():
        for name, make in _real_inputs(source, options, predictor):
            try:
                data = make()
                # A batch of a LightningModule is as its loader gives it.
                x = next(iter(data if source.definition.function("get_module") else unlabelled(data, 1)))
            except (HelixbandError, OSError) as error:
                if options.inputs is not None:
                    raise
                reason = f"{name}: {error}"
                continue
            if form is None and is_windowed(data) and name != "the test set":
                form = form_of(data)
            return form, map_leaves(lambda leaf: leaf[:EXAMPLES], x), []
    told = "note: no real input was found, so that the form of x is not recorded; give one with --inputs"
    if options.onnx:
        raise UsageError(f"--onnx: the graph is checked on real inputs, and there is none: {reason}; give "
                         "--inputs FILE")  # fmt: skip
    is_known = predictor.reads_texts or source.definition.function("get_module")
    return form, None, [] if is_known else [told]


def _real_inputs(source: Source, options: Options, predictor: Predictor) -> Iterable[tuple[str, Any]]:
    if options.inputs is not None:
        yield options.inputs, lambda: predictor.data_of(os.path.abspath(str(options.inputs)), None)
        return
    for file in source.results.records():
        path = source.results.record(file).get("seen", {}).get("path")
        if path and os.path.exists(path):
            yield path, lambda path=path: predictor.data_of(path, None)
    if source.definition.function("get_module"):
        return  # its predict_step takes batches of a form of their own
    if source.definition.function("get_test_generator"):
        yield "the test set", lambda: _Xs(source)
    yield "the training set", lambda: _Xs(source, training=True)


class _Xs:
    """The x of the test set or the training set."""

    labelled = False

    def __init__(self, source: Source, training: bool = False) -> None:
        definition, args = source.definition, source.args
        data: Any = (
            definition.training_data(args.data, args.batch_size)[0]
            if training
            else definition.test_data(args.data)
        )
        self._data, self._split = data, split_of(source.model)

    def __iter__(self) -> Any:
        for x, *_ in labelled(self._data, split=self._split):
            yield x


def _document(source: Source, form: Form | None, x: Any) -> dict[str, Any]:
    environment, looked_up = source.environment
    args = source.args
    example = None
    # A LightningModule predicts on whole batches, of a form of its own.
    if x is not None and not source.definition.function("get_module"):
        example = [
            [name.removeprefix("."), list(np.shape(leaf)[1:]), str(leaf.dtype).removeprefix("torch.")]
            for name, leaf in named_leaves(x)
        ]
    return {
        "helixband": __version__,
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "trained with torch": str(source.run.get("torch", "")),
        },
        "trial": source.trial.id,
        "config": source.config,
        "plan": {key: source.plan[key] for key in ("epochs", "steps_per_epoch")},
        "settings": {
            "seed": args.seed,
            "epoch": args.epoch,
            "batch_size": args.batch_size,
            "with": args.training,
        },
        "environment": {name: text for name, text in environment.items() if not has_credential(name, text)},
        "os_environ": {name: text for name, text in looked_up.items() if not has_credential(name, text)},
        "form": form and form.document(),
        "example": example,
        "graph": None,
        "windowed": form is not None,
    }


def _facts(source: Source, options: Options) -> dict[str, Any]:
    results = source.results
    test = results.test_result() if exists(results.test_file) else {}
    baselines = results.baselines() if exists(results.baselines_file) else {}
    begun = source.run.get("start") or {}
    what = "Trained" if begun.get("flag") != WEIGHTS else "Weights of a file, not trained here, taken"
    data = f"{what} by `{without_credentials(' '.join(map(str, source.run.get('command', []))))}`."
    return {"use": options.use, "data": data, "test": test, "baselines": baselines}
