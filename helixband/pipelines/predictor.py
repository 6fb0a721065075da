"""`predict`: what people have at hand becomes batches, as `--predict` makes them, and then predictions."""

import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import numpy as np
import torch

from helixband.definition import Definition
from helixband.env import as_recorded
from helixband.errors import DataError, HelixbandError, UsageError, counted
from helixband.files import absolute
from helixband.generators.arrays import filled_up
from helixband.generators.sequences import SequenceBatchGenerator
from helixband.nested import is_nested, leaves, length, named_leaves
from helixband.outputs.whole import named_arrays
from helixband.outputs.windows import WindowPredictor, chunks, is_windowed
from helixband.pipelines.form import Form
from helixband.randomness import Held, derive_seed, holding, seed_everything, unmoved
from helixband.sequence.fasta import is_fasta
from helixband.sequence.interval_files import is_intervals

MOST_SHOWN = 40
"""Letters of a sequence in a message."""

ARRAYS = (np.ndarray, torch.Tensor)

_FILE_NAME = re.compile(r"\S*/\S+|\S+\.\w{1,5}(\.gz)?")

_lock = threading.RLock()  # random numbers and the environment are the process's


def _new_lock() -> None:
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_new_lock)  # another thread may have held it


class Model(Protocol):
    """What predicts: a `BaseModel`, or a graph."""

    args: Any
    device: torch.device

    def predict(self, generator: Any) -> Any: ...


class Predictor:
    """Predictions of a trained model; called with inputs, it gives them as NumPy arrays (N, …).

    `definition` is None where no code of one is run. `form`: how sequences are read where the definition does
    not say it. `example`: (shape, dtype) of each array of one example of x, where known. `environment`: what
    the definition read of it, as `as_recorded` takes it.
    """

    def __init__(
        self,
        model: Model,
        definition: Definition | None = None,
        form: Form | None = None,
        example: list[Any] | None = None,
        environment: tuple[Mapping[str, str], Mapping[str, str | None]] = ({}, {}),
        random: Held | None = None,
    ) -> None:
        self.model = model
        self.definition = definition
        self.form = form
        self._example = example
        self._environment = environment
        self._random = random or Held()

    def __call__(self, inputs: Any, genome: str | os.PathLike[str] | None = None) -> Any:
        """y_pred, (N, …), or a dict of such by the names of its parts; the numbers are those of `--predict`.

        `inputs`: a list of sequences or texts, one prediction each; one of them alone, whose prediction comes
        without the leading axis; the path of a file, which is read as `--predict` reads it, for a BED or GFF3
        file with the path of its `genome` where the definition does not name that; x itself, an array
        (N, …) or a dict, tuple or list of arrays; or an object that gives batches of x each time it is
        iterated over. Of a generator, or another iterator, over any of these, it returns a generator over
        their predictions.

        Raises `DataError` for inputs of another alphabet, length or form than the model takes, and
        `UsageError` for what is none of these.
        """
        if isinstance(inputs, Iterator):
            return self._stream(inputs, genome)
        with self.as_in_training():
            return self._predict(inputs, genome)

    def data_of(self, path: str, genome: str | None = None) -> Iterable[Any]:
        """The generator over the x of a file."""
        own = self.definition is not None and self.definition.function("get_pred_generator")
        if own:
            assert self.definition is not None
            if genome is not None:
                raise UsageError(
                    f"the genome {genome}: get_pred_generator in {self.definition.path} reads the inputs, "
                    "and takes their path alone; leave the genome out"
                )
            return self.definition.prediction_data(path)
        if self.form is None:
            raise UsageError(
                f"{path}: how files are read is not known here, as "
                + ("no code of the definition is run (trust=True)" if self.definition is None else "there "
                "is no get_pred_generator, and no training data to read them like")
                + "; give arrays"
            )  # fmt: skip
        return self.form.generator(path, genome)

    def of_data(self, data: Iterable[Any], name: str) -> Any:
        """y_pred over the x of a generator; `name` is the input's."""
        seed = int(self.model.args.seed)
        seed_everything(derive_seed(seed, "predict", name))
        if not self._is_windowed(data):
            return _by_name(dict(named_arrays(self.model.predict(data))))
        predictor = WindowPredictor(self.model, data, seed=seed)  # type: ignore[arg-type]
        parts = [predictor.predict(first, last) for first, last in chunks(data)]
        return _by_name({key: filled_up([part[key] for part in parts]) for key in parts[0]})

    def regions(self, path: str, genome: str | None = None) -> tuple[Any, Any]:
        """(y_pred, names, starts, ends and strands of each, or None) of a file."""
        with self.as_in_training():
            data = self.data_of(path, genome)
            y_pred = self.of_data(data, os.path.basename(path))
            located = data.regions(np.arange(data.n_examples)) if self._is_windowed(data) else None
            return y_pred, located

    @property
    def reads_texts(self) -> bool:
        """Whether the definition reads texts itself."""
        return self.definition is not None and self.definition.function("predict_texts") is not None

    def _predict(self, inputs: Any, genome: Any) -> Any:
        path = self._path_in(inputs)
        if path is not None and not self.reads_texts:
            return self.of_data(self.data_of(path, genome and absolute(genome)), os.path.basename(path))
        if genome is not None:
            raise UsageError(f"the genome {genome} is for the path of a file of intervals")
        if path is not None:
            return self._of_texts(Path(path).read_text(encoding="utf-8").splitlines())
        if isinstance(inputs, str):
            return _first(self._of_texts([inputs]) if self.reads_texts else self._of_sequences([inputs]))
        if (is_nested(inputs) or isinstance(inputs, ARRAYS)) and len(inputs) == 0:
            raise DataError("the inputs are empty; give one at least")
        if (texts := _texts_in(inputs)) is not None:
            return self._of_texts(texts) if self.reads_texts else self._of_sequences(texts)
        if isinstance(inputs, ARRAYS) or is_nested(inputs):
            self._check_x(inputs)
            return self._counted(self.of_data([inputs], ""), inputs)
        if isinstance(inputs, Iterable) and not isinstance(inputs, bytes):
            return self.of_data(inputs, "")
        raise _unknown(inputs)

    def _stream(self, inputs: Iterator[Any], genome: Any) -> Iterator[Any]:
        rows = int(self.model.args.batch_size)
        for first in inputs:
            if not isinstance(first, str) or self._path_in(first) is not None:
                yield self(first, genome)
                continue
            texts = [first, *islice(inputs, rows - 1)]
            if others := [one for one in texts if not isinstance(one, str)]:
                raise _unknown(others[0], "the inputs are texts, and one is")
            predicted = self(texts)
            yield from (predicted if isinstance(predicted, list) else _rows(predicted))

    def _path_in(self, inputs: Any) -> str | None:
        """The file that inputs are the path of; None where they are no path."""
        if not isinstance(inputs, str | os.PathLike):
            return None
        path = os.fspath(inputs)
        is_named = isinstance(inputs, os.PathLike) or (not self.reads_texts and _FILE_NAME.fullmatch(path))
        with contextlib.suppress(OSError, ValueError):  # a text longer than any path
            if os.path.exists(path):
                return absolute(path)
        if is_named or is_fasta(path) or is_intervals(path):
            raise DataError(f"there is no file {path}")
        return None

    def _of_texts(self, texts: list[str]) -> list[Any]:
        assert self.definition is not None
        own = self.definition.function("predict_texts")
        assert own is not None

        def predict(x: Any) -> Any:
            return self.of_data([x] if not isinstance(x, Iterator) else list(x), "")

        found = own(predict, texts)
        if not isinstance(found, list) or len(found) != len(texts):
            told = f"{len(found)} things" if isinstance(found, list) else f"a {type(found).__name__}"
            raise DataError(
                f"predict_texts in {self.definition.path} returned {told} for {counted(len(texts), 'text')}; "
                "it has to return a list with one for each"
            )
        return found

    def _of_sequences(self, sequences: list[str]) -> Any:
        """As for a FASTA file of these sequences, each of which has to be one example."""
        for number, one in enumerate(sequences):
            if not one or re.search(r"[\s>]", one):
                raise DataError(f"sequence {number} (from 0) is {one[:MOST_SHOWN]!r}, which is no sequence")
        with tempfile.TemporaryDirectory(prefix="helixband-") as folder:
            path = os.path.join(os.path.realpath(folder), "inputs.fa")
            Path(path).write_text("".join(f">{n}\n{one}\n" for n, one in enumerate(sequences)))
            try:
                # What is encoded of them goes with them.
                with as_recorded({}, {"HELIXBAND_CACHE": folder}):
                    data = self.data_of(path)
                    self._check_sequences(data, sequences)
                    y_pred = self.of_data(data, "inputs.fa")
            except HelixbandError as error:
                raise type(error)(str(error).replace(path, "the sequences")) from error
        count = length(y_pred)
        if count != len(sequences):
            raise DataError(
                f"{counted(len(sequences), 'sequence')} gave {counted(count, 'prediction')}; write them to a "
                "FASTA file, and give its path"
            )
        return y_pred

    def _check_sequences(self, data: Iterable[Any], sequences: list[str]) -> None:
        if not is_windowed(data):
            return
        counts = np.bincount(data.records(np.arange(data.n_examples)), minlength=len(sequences))
        for number in np.flatnonzero(counts != 1)[:1].tolist():
            raise DataError(
                f"sequence {number} (from 0) has {len(sequences[number])} letters and gives "
                f"{counted(int(counts[number]), 'window')}, for the model takes {data.length}; give pieces "
                "of that length, or the path of a FASTA file for all windows"
            )

    def _check_x(self, x: Any) -> None:
        """Raise `DataError` where arrays have another form than an example that is known."""
        for name, leaf in named_leaves(x):
            if not isinstance(leaf, ARRAYS):
                raise _unknown(leaf, f"x{name} is")
        given = [(name.removeprefix("."), tuple(leaf.shape[1:])) for name, leaf in named_leaves(x)]
        wanted = [(name, tuple(shape)) for name, shape, _ in self._example or []] or given
        sizes = [[(name, len(shape)) for name, shape in each] for each in (given, wanted)]
        if sizes[0] != sizes[1] or (self.is_fixed and given != wanted):
            raise DataError(f"x has {_told(given)}; the model was trained on {_told(wanted)}")
        if self.form is not None and self.form.layout == "NL":
            self._check_codes(next(leaves(x)), self.form)

    @staticmethod
    def _check_codes(codes: Any, form: Form) -> None:
        """Raise `DataError` where indexes are of another length than a window, or outside of the alphabet."""
        if codes.ndim != 2 or form.length not in (None, codes.shape[1]):
            wanted = "S" if form.length is None else form.length
            raise DataError(
                f"x has an array {_shape(codes.shape[1:])}; the model takes indexes (N, {wanted})"
            )
        codes = torch.as_tensor(codes).cpu().numpy()
        outside = np.argwhere((codes < 0) | (codes >= len(form.alphabet)))
        for row, position in outside[:1].tolist():
            raise DataError(
                f"x has {codes[row, position]} in row {row}, position {position} (from 0); indexes of "
                f"{form.alphabet} are 0 to {len(form.alphabet) - 1}"
            )

    def _counted(self, y_pred: Any, x: Any) -> Any:
        """The predictions of arrays; raises `DataError` where they are not one for each example."""
        if (count := length(y_pred)) != length(x):
            hint = ""
            if self.definition is not None and self.definition.function("get_module"):
                hint = "; a LightningModule takes a batch as its loader gives it, as (x,) of a TensorDataset"
            raise DataError(
                f"x has {counted(length(x), 'example')} and gave {counted(count, 'prediction')}{hint}"
            )
        return y_pred

    @property
    def is_fixed(self) -> bool:
        """Whether all examples have the shape of the one that is known."""
        return self.form is None or self.form.length is not None

    def _is_windowed(self, data: Iterable[Any]) -> TypeGuard[SequenceBatchGenerator]:
        saves = self.definition is not None and self.definition.function("save_prediction")
        return is_windowed(data) and not saves

    @contextlib.contextmanager
    def as_in_training(self) -> Iterator[None]:
        """In the body, the process is as the definition found it; afterwards as before."""
        with _lock, as_recorded(*self._environment), holding(self._random), unmoved():
            try:
                yield
            except (Exception, SystemExit) as error:
                explained = error if self.definition is None else self.definition.explain(error)
                if explained is error:
                    raise
                raise explained from error


def locked(body: Callable[[], Any]) -> Any:
    """What a function gives that changes what is the process's."""
    with _lock, unmoved():
        return body()


def _texts_in(inputs: Any) -> list[str] | None:
    """The sequences or texts of a list, a tuple or an array of such; None for anything else."""
    is_array = isinstance(inputs, np.ndarray) and inputs.ndim == 1 and inputs.dtype.kind in "UO"
    if not (is_array or isinstance(inputs, list | tuple)):
        return None
    texts = [one for one in inputs if isinstance(one, str)]
    if not texts:
        return None
    if others := [one for one in inputs if not isinstance(one, str)]:
        raise _unknown(others[0], "the inputs are texts, and one is")
    return list(map(str, texts))


def _unknown(given: Any, what: str = "the inputs are") -> UsageError:
    return UsageError(
        f"{what} a {type(given).__name__}; inputs have to be sequences or texts, the path of a file, arrays, "
        "or a generator of such"
    )


def _by_name(arrays: dict[str, Any]) -> Any:
    return arrays[""] if list(arrays) == [""] else {key.removeprefix("."): one for key, one in arrays.items()}


def _first(predicted: Any) -> Any:
    return {key: one[0] for key, one in predicted.items()} if isinstance(predicted, dict) else predicted[0]


def _rows(predicted: Any) -> Iterator[Any]:
    if not isinstance(predicted, dict):
        yield from predicted
        return
    for number in range(len(next(leaves(predicted)))):
        yield {key: one[number] for key, one in predicted.items()}


def _told(shapes: list[tuple[str, Any]]) -> str:
    return ", ".join(f"{name or 'an array'} {_shape(shape)}" for name, shape in shapes)


def _shape(of_one: Iterable[int]) -> str:
    return str(("N", *of_one)).replace("'", "")
