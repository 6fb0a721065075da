"""A definition (def.py): load it by path, check it against its contract, call it with seeded random numbers.

`docs/def.md` describes the contract for those who write a definition.
"""

import ast
import functools
import hashlib
import os
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType, FunctionType, ModuleType, TracebackType
from typing import Any

from base_model import BaseModel
from batch_generator import BatchGenerator
from helixband.definition import folder, returned
from helixband.definition.classes import named_classes, parts_of, record_of, take
from helixband.definition.contract import FUNCTIONS, METHODS, misspelt, names_used, signature_faults, uncalled
from helixband.definition.lasting import Lent
from helixband.definition.own import OwnCode
from helixband.definition.put_off import put_off
from helixband.env import parent, watch
from helixband.errors import DataError, DefinitionError, HelixbandError, in_one_line
from helixband.generators.sequences import SequenceBatchGenerator
from helixband.hparams import Hparams
from helixband.randomness import derive_seed, seed_everything
from helixband.training import compiler
from helixband.training.feed import as_stored, number_of_batches
from helixband.training.objects import is_ours

_SPLIT = ", for example `train, val, test = …` and `return {}`"
_OF_A_SPLIT = {
    "get_train_generator": _SPLIT.format("train, val"),
    "get_val_generator": _SPLIT.format("val"),
    "get_test_generator": _SPLIT.format("test"),
}
"""What to return of the parts of a split."""

TrainingData = dict[tuple[str, int], tuple[BatchGenerator, BatchGenerator]]
"""By data directory and batch size."""


class Definition:
    """A loaded def.py. All its data functions get the same random numbers, so that random splits agree."""

    def __init__(self, path: Path, record: bytes, module: ModuleType, seed: int = 0) -> None:
        self.path = path
        self.record = record  # what results keep: the source, or that of both files of two classes
        self.source = parts_of(record)[0]
        self.digest = hashlib.sha256(self.record).hexdigest()
        self.module = module
        self.seed = seed
        self.given = str(path)  # what `load_definition` was given, for other processes
        self.code = OwnCode(module)
        self.arguments = (".", 100)  # the data directory and the batch size of the run
        self.lent = Lent()
        self._training_data: TrainingData = {}

    def adapt(self) -> None:
        """Put a LightningModule or a DataModule in the places of Model and generators, where it has one."""
        if {"get_module", "get_datamodule"} & vars(self.module).keys():
            from helixband.interop import adapt

            adapt(self.module, self.seed, lambda: self.arguments, parent())

    def check(self, needed: Mapping[str, str]) -> None:
        """Check the definition against its contract.

        `needed` are the functions that the run will call, each with what asks for it: "--hyper", or "".
        Raises `DefinitionError` with all faults at once.
        """
        faults = [fault for name, by in needed.items() for fault in self._function_faults(name, by)]
        for name in FUNCTIONS:
            if name in needed:
                continue
            if self._has(name):
                faults += self._function_faults(name)
            elif near := self._misspelt(name, vars(self.module), optional=True):
                faults.append(f"{near}: did you mean {name}?")
        faults += [*self._hparams_faults(), *self._model_faults()]
        if faults:
            listed = "".join(f"\n  - {fault}" for fault in faults)
            raise DefinitionError(f"{self.path} does not keep the contract of a definition:{listed}")

    @property
    def hparams(self) -> type[Hparams] | None:
        """The class of its hyperparameters, where it has one."""
        found = getattr(self.module, "hparams", None)
        return found if _is_hparams(found) else None

    def function(self, name: str) -> Callable[..., Any] | None:
        """A function of the definition, or None."""
        return getattr(self.module, name, None)

    def new_model(self, *arguments: Any) -> BaseModel:
        """`Model(config, args)`."""
        compiler.do_without()
        return self.lent.to(lambda: self.module.Model(*arguments))

    def training_data(self, data_dir: str, batch_size: int) -> tuple[Iterable[Any], Iterable[Any]]:
        """(training, validation) generators.

        Generators of ours are made once and shared, as their order is set for each epoch; others may hold
        state and are made anew.
        """
        key = (data_dir, batch_size)
        if key in self._training_data:
            return self._training_data[key]
        train, val = self.training_set(data_dir, batch_size)
        val = self.validation_set(data_dir) if val is None else val
        self.keep(data_dir, batch_size, train, val)
        return train, val

    def training_set(self, data_dir: str, batch_size: int) -> tuple[Iterable[Any], Iterable[Any] | None]:
        """The generator for training; and that for validation, or None where another function makes it."""
        name, of_val = "get_train_generator", "get_val_generator"
        made = self._call_for_data(name, data_dir, batch_size)
        if returned.is_pair(made):
            train, val = made
            return self._checked(train, name), self._checked(val, f"{name}, as the val of (train, val),")
        if not (self._has(of_val) or returned.holds_generators(made)):
            near = self._misspelt(of_val, vars(self.module))
            hint = f" ({near}: did you mean get_val_generator?)" if near else ""
            raise DefinitionError(
                f"{self.path}: get_train_generator returned one generator, and there is no get_val_generator"
                f"{hint}; return (train, val), or write one"
            )
        return self._checked(made, name), None

    def validation_set(self, data_dir: str) -> Iterable[Any]:
        """The generator of `get_val_generator`."""
        name = "get_val_generator"
        return self._checked(self._call_for_data(name, data_dir), name)

    def keep(self, data_dir: str, batch_size: int, train: Iterable[Any], val: Iterable[Any]) -> None:
        """Have `training_data` give these again, if they are of ours."""
        if isinstance(train, BatchGenerator) and isinstance(val, BatchGenerator):
            self._training_data[data_dir, batch_size] = (train, val)

    def data_made(self) -> TrainingData:
        """The training data of ours that are kept."""
        return dict(self._training_data)

    def forget_data(self, but: TrainingData) -> None:
        """Make training data anew where they are needed again, but for these."""
        self._training_data = dict(but)

    def test_data(self, data_dir: str) -> Iterable[Any]:
        """The generator of the held-out set."""
        name = "get_test_generator"
        generator = self._check_generator(self._call_for_data(name, data_dir), name)
        returned.check_labelled(self.module, generator, name)
        return generator

    def prediction_data(self, path: str) -> Iterable[Any]:
        """The generator of `get_pred_generator` over the x of one input."""
        return self._check_generator(self._call_for_data("get_pred_generator", path), "get_pred_generator")

    def sequence_training_data(self, data_dir: str, batch_size: int) -> SequenceBatchGenerator:
        """The training generator as one that can make a generator for prediction.

        Raises `DefinitionError` where there is neither that nor a `get_pred_generator`.
        """
        train, _ = self.training_data(data_dir, batch_size)
        if (found := returned.sequences_of(train)) is not None:
            return found
        near = self._misspelt("get_pred_generator", vars(self.module))
        raise DefinitionError(
            f"{self.path}: get_pred_generator(pred_path) is missing; --predict needs it"
            + (f"; {near}: did you mean get_pred_generator?" if near else "")
            + "; you can leave it out only if get_train_generator returns a FastaBatchGenerator or an "
            "IntervalBatchGenerator, whose x no other code changes; it returned a "
            f"{type(train).__name__}"
        )

    def traceback_of(self, error: BaseException) -> str | None:
        """The traceback from the first line of the definition (or its folder) on, or None without one.

        If torch raised the error inside a network that the definition built, its note is the explanation.
        """
        if own := self._own_tracebacks(error):
            account = traceback.TracebackException(type(error), error, own[0])
            account.stack = traceback.StackSummary.from_list(
                [frame for frame in account.stack if not folder.is_import(frame.filename)]
            )
            text = "".join(account.format(chain=False))
            return text + folder.explain_hidden(self.module, text)
        return "".join(traceback.format_exception_only(error)) if hasattr(error, "__notes__") else None

    def explain(self, error: BaseException) -> BaseException:
        """`error` as the user should see it, with its place in the definition.

        An error raised neither there nor in what the definition made is a bug of Helixband, and returned
        unchanged.
        """
        if isinstance(error, HelixbandError):
            place = self.place_of(error)
            if place is None and isinstance(error, DefinitionError) and str(self.path) not in str(error):
                place = str(self.path)
            return type(error)(f"{place}: {error}") if place else error
        account = self.traceback_of(error)
        return HelixbandError(f"{self.path} raised:\n{account.rstrip()}") if account else error

    def place_of(self, error: BaseException) -> str | None:
        """File, line and functions of the definition that led to an error; None where it did not."""
        if not (own := self._own_tracebacks(error)):
            return None
        codes = [tb.tb_frame.f_code for tb in own]
        names = " > ".join(code.co_name for code in codes if not code.co_name.startswith("<"))
        return f"{codes[-1].co_filename}, line {own[-1].tb_lineno}" + (f", in {names}" if names else "")

    def _own_tracebacks(self, error: BaseException) -> list[TracebackType]:
        """The entries of the definition's own code in a traceback, from the first one on."""
        return [tb for tb in _tracebacks(error.__traceback__) if self.is_own(tb.tb_frame)]

    def is_own(self, frame: FrameType) -> bool:
        """Whether a frame runs code of the definition or of a module next to it.

        Helixband itself, or installed packages, can lie in the definition's folder too.
        """
        module = str(frame.f_globals.get("__name__"))
        return not is_ours(module) and self.code.has(frame.f_code.co_filename)

    def _call_for_data(self, name: str, *arguments: Any) -> Any:
        seed_everything(derive_seed(self.seed, "data"))
        return getattr(self.module, name)(*arguments)

    def _check_generator(self, made: Any, name: str) -> Iterable[Any]:
        generator: Iterable[Any] = made if name == "get_train_generator" else as_stored(made)
        kind = type(generator).__name__
        if returned.holds_generators(made):
            wanted = "(train, val)" if name == "get_train_generator" else "one generator"
            raise DefinitionError(
                f"{self.path}: {name} returned {len(made)} thing{'s' * (len(made) != 1)} in a {kind}; return "
                f"{wanted}{_OF_A_SPLIT.get(name, '')}"
            )
        if not isinstance(generator, Iterable) and not hasattr(generator, "__getitem__"):
            raise DefinitionError(
                f"{self.path}: {name} returned {in_one_line(generator)} ({kind}); it has to return "
                "something that iterates over batches"
            )
        # A class of the user's may start again in an __iter__ of its own that returns self.
        if isinstance(generator, Iterator) and not isinstance(type(generator).__iter__, FunctionType):
            raise DefinitionError(
                f"{self.path}: {name} returned a {kind}, which can be read once; return an object whose "
                "__iter__ starts again each time, for example a MatrixBatchGenerator or a DataLoader"
            )
        if number_of_batches(made) == 0:
            why = made.why_no_batch() if isinstance(made, BatchGenerator) else ""
            why = why or "the set needs one example at least"
            raise DataError(f"{self.path}: {name} returned a {kind} without a batch; {why}")
        return generator

    def _checked(self, made: Any, name: str) -> Iterable[Any]:
        """As `_check_generator`, of a set that is read each epoch."""
        generator = self._check_generator(made, name)
        returned.check_labelled(self.module, generator, name)
        returned.check_workers(self.path, generator, name)
        return generator

    def _has(self, name: str) -> bool:
        return hasattr(self.module, name)

    def _function_faults(self, name: str, needed_by: str = "") -> list[str]:
        call = f"{name}({', '.join(FUNCTIONS[name])})"
        if not self._has(name):
            near = self._misspelt(name, vars(self.module))
            need = f"; {needed_by} needs it" if needed_by else ""
            return [f"{call} is missing{need}" + (f"; {near}: did you mean {name}?" if near else "")]
        function = getattr(self.module, name)
        if not callable(function):
            return [f"{name} is a {type(function).__name__}; it has to be a function"]
        return signature_faults(function, name, call, FUNCTIONS[name])

    def _hparams_faults(self) -> list[str]:
        found, own = getattr(self.module, "hparams", None), vars(self.module)
        if found is None or isinstance(found, ModuleType):  # as an import from a file hparams.py sets it
            classes = _classes_of_hparams(own) or _classes_of_hparams(vars(found or self.module))
            unused = [name for name in classes if name not in self._used]
            if not unused:
                return []
            name = max(unused, key=lambda name: len(classes[name].fields()))
            way = f"hparams = {name}" if name in own else f"from hparams import {name} as hparams"
            return [f"{name} has hyperparameters, and no run looks at them; write {way}"]
        if _is_hparams(found):
            return []
        return [
            f"hparams is {in_one_line(found)} ({type(found).__name__}); it has to be a class derived "
            "from helixband.hparams.Hparams, for example: from hparams import Everything as hparams"
        ]

    def _model_faults(self) -> list[str]:
        model = getattr(self.module, "Model", None)
        if model is None:
            others = [name for name, value in vars(self.module).items() if self._is_own_model(value)]
            hint = f"; {others[-1]}: did you mean Model?" if others else ""
            return [f"class Model(BaseModel) is missing{hint}"]
        if not isinstance(model, type):
            return [f"Model is {in_one_line(model)}; it has to be a class derived from base_model.BaseModel"]
        if not issubclass(model, BaseModel):
            bases = ", ".join(base.__name__ for base in model.__bases__)
            hidden = "".join(folder.explain_hidden(self.module, base.__module__) for base in model.__bases__)
            return [f"class Model derives from {bases}; it has to derive from base_model.BaseModel{hidden}"]
        faults = []
        own = [cls for cls in model.__mro__ if self.code.has(_file_of(cls))]
        defined = {key: value for cls in reversed(own) for key, value in vars(cls).items()}
        for name, parameters in METHODS.items():
            call = f"Model.{name}({', '.join(parameters)})"
            if isinstance(defined.get(name), FunctionType):
                faults += signature_faults(defined[name], f"Model.{name}", call, parameters)
            elif near := self._misspelt(name, defined, optional=True):
                faults.append(f"Model.{near}: did you mean {name}?")
            elif name == "init_model" and model.init_model.__module__ == BaseModel.__module__:
                faults.append(f"{call} is missing")
        return faults + uncalled(model, {name: defined[name] for name in defined.keys() - self._used})

    def _is_own_model(self, value: Any) -> bool:
        return (
            isinstance(value, type)
            and issubclass(value, BaseModel)
            and value.__module__ == self.module.__name__
        )

    def _misspelt(self, name: str, names: Collection[str], optional: bool = False) -> str | None:
        """A name that is close to the wanted one; where that is optional, none that the definition uses."""
        return misspelt(
            name, [other for other in names if not (optional and other in self._used)], names, optional
        )

    @functools.cached_property
    def _used(self) -> set[str]:
        """The names that the definition refers to, and that files beside it with classes of Model do."""
        model = getattr(self.module, "Model", None)
        files = {_file_of(cls) for cls in getattr(model, "__mro__", ())}
        sources = [
            Path(file).read_bytes()
            for file in files - {str(self.path)}
            if self.code.has(file) and file.endswith(".py")
        ]
        return {name for source in (self.source, *sources) for name in names_used(ast.parse(source))}


def load_definition(path: str | os.PathLike[str], seed: int = 0, source: bytes | None = None) -> Definition:
    """Run a def.py, or a `source` that it had or will have, as a module and package of its own name.

    `module.py:LitModel,data.py:CoraData` takes two classes of Lightning in the place of a def.py.

    Raises `DefinitionError` if it is missing, has a syntax error, or raises an exception while it is loaded.
    """
    given, classes = os.fspath(path), named_classes(path)
    path = classes[0].file if classes else Path(path).resolve()
    try:
        source = path.read_bytes() if source is None else source
    except OSError as error:
        raise DefinitionError(f"cannot read the definition {path}: {error.strerror}; see --model") from error
    record = record_of(classes, source)
    module = folder.new_module(path, parts_of(record)[0], seed)
    definition = Definition(path, record, module, seed)
    watch(definition.is_own)
    put_off()
    try:
        folder.execute(module)
        if classes:
            definition.given = given
            take(classes, definition.code.modules, seed, record)
        definition.adapt()
    except SyntaxError as error:
        text = f"\n    {error.text.strip()}" if error.text else ""
        where = f"{error.filename or path}, line {error.lineno}" if error.lineno else f"{path}"
        raise DefinitionError(f"{where}: {error.msg}{text}") from error
    except HelixbandError as error:
        raise definition.explain(error) from error
    except (Exception, SystemExit) as error:
        account = (definition.traceback_of(error) or repr(error)).rstrip()
        raise DefinitionError(f"{path} raised as it was loaded:\n{account}") from error
    return definition


def _classes_of_hparams(names: Mapping[str, Any]) -> dict[str, type[Hparams]]:
    """Those of some names that declare hyperparameters."""
    return {name: value for name, value in names.items() if _is_hparams(value) and value.fields()}


def _is_hparams(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Hparams)


def _file_of(cls: type[Any]) -> str:
    """The file that a class is from; empty where it is none of Python's, or of Helixband."""
    module = None if is_ours(cls.__module__) else sys.modules.get(cls.__module__)
    return str(getattr(module, "__file__", None) or "")


def _tracebacks(tb: TracebackType | None) -> Iterator[TracebackType]:
    while tb is not None:
        yield tb
        tb = tb.tb_next
