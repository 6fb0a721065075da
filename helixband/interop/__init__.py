"""LightningModules and DataModules as they are, in the places of a definition's Model and generators."""

import functools
import inspect
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from helixband.errors import DefinitionError
from helixband.interop.data import PREDICT, TEST, TRAIN, VAL, Loaders, Source, single_loader
from helixband.interop.model import LightningModel
from helixband.interop.prepared import ModulePreparation, Preparation, Prepared

PARTS = ("get_module", "get_trainer", "optimized_metric", "mode")


def adapt(module: ModuleType, seed: int, arguments: Callable[[], tuple[str, int]], parent: int) -> None:
    """Give a definition with `get_module` or `get_datamodule` what a run calls: Model and generators.

    What the definition has itself stays. Its random splits depend on `seed`. `arguments` gives the data
    directory and the batch size of the run, `parent` is the process that this one works for.
    """
    names = vars(module)
    for name in ("get_module", "get_datamodule", "get_trainer"):
        if name in names and not callable(names[name]):
            raise DefinitionError(f"{name} is a {type(names[name]).__name__}; it has to be a function")
    prepared = Prepared(parent)
    if "get_module" in names:
        if "Model" in names and names["Model"].__module__ == module.__name__:
            raise DefinitionError("there are a class Model and get_module: leave out one of them")
        parts = {name: names[name] for name in PARTS if name in names}
        own = {
            "parts": parts,
            "preparation": ModulePreparation(prepared),
            "__module__": LightningModel.__module__,
        }
        names["Model"] = type("Model", (LightningModel,), own)
        if "hparams" not in names:
            names.setdefault("get_config", dict)
    if "get_datamodule" in names:
        for name, function in _generators(module, seed, arguments, prepared).items():
            names.setdefault(name, function)


def take_classes(module: ModuleType, classes: Sequence[Any]) -> None:
    """Give a definition get_module and get_datamodule by a class of modules and one of DataModules.

    The former is made with the configuration, the latter with data_dir and batch_size, where it takes them.
    """
    lit, data = classes
    takes = inspect.signature(data).parameters

    def get_module(config: Any) -> Any:
        return lit(**config)

    def get_datamodule(data_dir: str, batch_size: int) -> Any:
        given = {"data_dir": data_dir, "batch_size": batch_size}
        return data(**{name: value for name, value in given.items() if name in takes})

    vars(module).update(get_module=get_module, get_datamodule=get_datamodule)


def _generators(
    module: ModuleType, seed: int, arguments: Callable[[], tuple[str, int]], prepared: Prepared
) -> dict[str, Any]:
    """The functions of data, by a DataModule that is made anew for each."""
    is_lightning, preparation = "get_module" in vars(module), Preparation(prepared)

    def source(data_dir: str, batch_size: int) -> Source:
        make = functools.partial(module.get_datamodule, data_dir, batch_size)
        return Source(make, seed, data_dir, preparation)

    def of(made: Source, name: str) -> Any:
        return Loaders(made, name) if is_lightning else single_loader(made, name)

    def get_train_generator(data_dir: str, batch_size: int) -> tuple[Any, Any]:
        made = source(data_dir, batch_size)
        return of(made, TRAIN), of(made, VAL)

    def get_test_generator(data_dir: str) -> Any:
        return of(source(data_dir, arguments()[1]), TEST)

    def get_pred_generator(pred_path: str) -> Any:
        made = source(*arguments())
        made.datamodule.predict_path = pred_path
        return of(made, PREDICT)

    functions = (get_train_generator, get_test_generator, get_pred_generator)
    return {function.__name__: function for function in functions}
