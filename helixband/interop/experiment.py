"""What a YAML experiment is while it runs: the functions of a definition, made from a configuration.

`source` writes a definition of it, whose text has the whole configuration. So another configuration is
another definition, in another process it is the same, and a result directory has all of it in its def.py.
"""

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import hydra.utils
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from helixband.errors import DefinitionError, HelixbandError, meant
from helixband.hparams import Hparams
from helixband.interop.composing import Composed, first_line
from helixband.interop.older import translated
from helixband.interop.rooted import MARK, apart
from helixband.interop.searched import declared, hyperparameters
from helixband.interop.targets import check_accelerator, check_targets, targets

DATA = ("datamodule", "data")
"""The names that the node of the data module has, the older one first."""
NOT_IN_SOURCE = (
    "trainer.max_epochs",
    "seed",
    "train",
    "test",
    "ckpt_path",
    "tags",
    "extras",
    "hparams_search",
)
"""Keys of what is a flag of each run, or changes nothing that is trained."""

_SOURCE = '''\
"""The experiment {file}, as Hydra composed it.

Helixband made this file: change the YAML files instead. PROJECT_ROOT is the folder that its targets are
imported from; a variable of that name in the environment is taken first.
"""

from helixband.interop.experiment import Experiment

EXPERIMENT = """\\
{text}"""

HYPERPARAMETERS = {hyperparameters}

experiment = Experiment({file!r}, EXPERIMENT, HYPERPARAMETERS, {root!r}, {choices!r}, __file__)
PROJECT_ROOT = experiment.root
hparams = experiment.hparams
get_module = experiment.get_module
get_datamodule = experiment.get_datamodule
get_trainer = experiment.get_trainer
'''


class Experiment:
    """A configuration as YAML and its hyperparameters; the functions of a definition are its methods."""

    mark = MARK

    def __init__(
        self,
        file: str,
        text: str,
        hyperparameters: Mapping[str, Mapping[str, Any]],
        root: str,
        choices: Mapping[str, str],
        definition: str,
    ) -> None:
        self.file, self._text, self._choices = file, text, dict(choices)
        self._output = Path(definition).parent
        self._is_apart, self._modules = (self._output / MARK).is_file(), dict[str, ModuleType]()
        if self._is_apart:
            self.root = str(self._output)
        else:
            self.root = os.environ.setdefault("PROJECT_ROOT", str((self._output / root).resolve()))
            if self.root not in sys.path:
                sys.path.append(self.root)
        self.hparams: type[Hparams] = declared(hyperparameters)

    def get_module(self, config: Mapping[str, Any]) -> Any:
        """The LightningModule of `model`, with these hyperparameters."""
        with self._at_root():
            return self._made(self._config(config), "model")

    def get_datamodule(self, data_dir: str, batch_size: int, config: Mapping[str, Any] | None = None) -> Any:
        """The LightningDataModule of `datamodule`, or `data`."""
        with self._at_root():
            return self._data(data_dir, batch_size, config)

    def _data(self, data_dir: str, batch_size: int, config: Mapping[str, Any] | None) -> Any:
        whole = self._config(config or {})
        name = data_node(whole, self.file)
        if OmegaConf.select(whole, "paths.data_dir") is not None:
            OmegaConf.update(whole, "paths.data_dir", data_dir)
        key = f"{name}.batch_size"
        if OmegaConf.select(whole, key) is not None and key not in self.hparams.fields():
            OmegaConf.update(whole, key, batch_size)
        return self._made(whole, name)

    def get_trainer(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of Lightning's Trainer: those of `trainer`, the callbacks and the loggers."""
        with self._at_root():
            return self._arguments(config)

    @property
    def targets(self) -> list[str]:
        """What the `_target_`s of the experiment name."""
        plainly = OmegaConf.to_container(OmegaConf.create(self._text))
        return [target for _, target in targets(plainly)]

    def _at_root(self) -> contextlib.AbstractContextManager[None]:
        return apart(self.root, self._modules) if self._is_apart else contextlib.nullcontext()

    def _arguments(self, config: Mapping[str, Any]) -> dict[str, Any]:
        whole = self._config(config)
        found = {name: self._made(whole, f"trainer.{name}") for name in whole.get("trainer") or {}}
        found = {name: value for name, value in found.items() if name not in ("_target_", "max_epochs")}
        for name in ("callbacks", "logger"):
            nodes = whole.get(name) or {}
            keys = [key for key, node in nodes.items() if isinstance(node, DictConfig) and "_target_" in node]
            if keys:
                found[name] = [self._made(whole, f"{name}.{key}") for key in keys]
        return found

    def _config(self, values: Mapping[str, Any]) -> DictConfig:
        """The configuration with these hyperparameters, and `${hydra:…}` as it is here."""
        whole = OmegaConf.create(self._text)
        assert isinstance(whole, DictConfig)
        setup_globals()  # the resolver ${hydra:…}
        node = OmegaConf.create({"hydra": OmegaConf.structured(HydraConf)})
        node.hydra.runtime.output_dir = node.hydra.run.dir = str(self._output)
        node.hydra.runtime.cwd = os.getcwd()
        node.hydra.runtime.choices = self._choices
        node.hydra.job.name = node.hydra.job.config_name = Path(self.file).stem
        HydraConfig.instance().set_config(node)
        for name, value in values.items():
            OmegaConf.update(whole, name, value)
        return whole

    def _made(self, whole: DictConfig, key: str) -> Any:
        """What a node describes: the object of its `_target_`, or its plain value."""
        node = OmegaConf.select(whole, key)
        if node is None and key == "model":
            raise DefinitionError(f"{self.file} has no {key}; it has {', '.join(map(str, whole))}")
        if not OmegaConf.is_config(node):
            return node
        try:
            made = hydra.utils.instantiate(node)
        except InstantiationException as error:
            cause = error.__cause__
            if isinstance(cause, HelixbandError):
                raise cause from None
            target = node.get("_target_", key)
            said = f"{type(cause).__name__}: {cause}" if cause else first_line(error)
            raise DefinitionError(f"{self.file}: {key} ({target}) cannot be made: {said}") from (
                cause or error
            )
        return OmegaConf.to_container(made, resolve=True) if OmegaConf.is_config(made) else made


def data_node(config: Mapping[Any, Any], file: str) -> str:
    """The name of the node of the data module; raises `DefinitionError` where there is none."""
    if (name := next((name for name in DATA if config.get(name) is not None), None)) is None:
        raise DefinitionError(f"{file} has neither {' nor '.join(DATA)}; {meant('data', map(str, config))}")
    return name


def checked_plan(composed: Composed) -> tuple[DictConfig, list[str]]:
    """The configuration as it is run, keys of older releases translated, and a line for each of these.

    Raises `HelixbandError` for a target that cannot be imported, and a device that is not there.
    """
    job, file = composed.job, str(composed.file)
    if str(root := os.environ["PROJECT_ROOT"]) not in sys.path:
        sys.path.append(root)
    trainer = OmegaConf.to_container(job.get("trainer") or OmegaConf.create({}))
    assert isinstance(trainer, dict)
    now, above, told = translated({str(key): value for key, value in trainer.items()})
    if told:
        job.trainer = now
        for key, value in above.items():
            if value is not None:
                job[key] = value
    plain = OmegaConf.to_container(job, resolve=True)
    assert isinstance(plain, dict)
    data_node(plain, file)
    check_targets({str(key): value for key, value in plain.items()}, file)
    check_accelerator(plain.get("trainer") or {}, file)
    return job, told


def goal(composed: Composed) -> tuple[str | None, str | None]:
    """The metric that is optimized and its mode: as the experiment says, or what a checkpoint monitors."""
    job, config = composed.job, composed.config
    metric, mode = job.get("optimized_metric"), job.get("mode")
    if metric and not mode:
        direction = OmegaConf.select(config, "hydra.sweeper.direction")
        mode = {"maximize": "max", "minimize": "min"}.get(str(direction))
    callbacks = [node for node in (job.get("callbacks") or {}).values() if OmegaConf.is_config(node)]
    for node in callbacks:
        if node.get("monitor") and node.get("mode"):
            if not metric:
                return str(node.monitor), str(node.mode)
            mode = mode or str(node.mode)
    return metric, mode


def source(composed: Composed, job: DictConfig, result: Path) -> str:
    """The text of a definition of this experiment, to lie in the directory `result`."""
    kept = job.copy()
    for key in NOT_IN_SOURCE:
        node, _, name = key.rpartition(".")
        OmegaConf.select(kept, node).pop(name, None) if node else kept.pop(name, None)
    text = OmegaConf.to_yaml(kept).replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    choices = {
        str(key): str(value)
        for key, value in composed.config.hydra.runtime.choices.items()
        if value is not None and not str(key).startswith("hydra")
    }
    root = os.environ["PROJECT_ROOT"]
    file = os.path.relpath(composed.file, root)
    metric, mode = goal(composed)
    lines = [f"optimized_metric = {metric!r}\n"] if metric else []
    lines += [f"mode = {mode!r}\n"] if metric and mode else []
    body = _SOURCE.format(
        file=file,
        text=text,
        hyperparameters=_shown(hyperparameters(composed, job)),
        root=os.path.relpath(root, result),
        choices=choices,
    )
    return body + "".join(lines)


def _shown(parameters: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [f"    {name!r}: {dict(told)!r},\n" for name, told in parameters.items()]
    return "{\n" + "".join(lines) + "}" if lines else "{}"
