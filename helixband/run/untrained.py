"""The model that `--weights FILE` gives: the weights of a file as they are, without a training.

They become the best state of the single trial, of the epoch that a checkpoint of ours has, or of epoch 0. So
a later run finds a model there as after a training, and the file is not needed any more; where it is given
again, it has to be the same.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from base_model import BaseModel
from helixband.errors import ResultsMismatch, StorageError, UsageError, listed
from helixband.randomness import derive_seed
from helixband.results import checkpoints
from helixband.results.directory import SINGLE, Trial
from helixband.run.context import Context, Stage
from helixband.run.hyperparameters import agrees, config_beside, part_of
from helixband.search.executors.trial import Trainer
from helixband.search.samplers.random import draw
from helixband.search.space import configurations
from helixband.training.configuration import canonical
from helixband.training.start import FLAGS, SHOWN, WEIGHTS, Origin, Start
from helixband.training.weights import Weights, read_weights


class Untrained(Stage):
    """The weights that --weights gives, where they are not yet in the result directory.

    `trial` is the one that gets them, or None where there is nothing to do.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.trial: Trial | None = None
        self._is_composed = context.planned.source is not None
        self._config: dict[str, Any] | None = None
        self._content: dict[str, Any] | None = None
        self.origin = self._given()
        recorded = Origin(**start) if self.run_file.binding and (start := self.run_file.start) else None
        of_weights = recorded is not None and recorded.flag == WEIGHTS
        if of_weights and self.args.train:
            raise UsageError(
                f"{self.results.path} has the weights of {recorded}, and no training. To train, choose "
                "another directory with --result; --load-checkpoint begins with the weights of a file"
            )
        if self.origin is None:
            return
        if self.run_file.binding:
            self._check_same(recorded if of_weights else None)
        if self.results.best_trial() is None:
            self.trial = self.results.trial(SINGLE)

    def fixed(self, config: dict[str, Any] | None) -> dict[str, Any] | None:
        """The configuration that --config and --set give, or else that of the trial which the file is of.

        Raises `UsageError` where it is not known, and get_config() draws another one each time.
        """
        if self.trial is None or self.origin is None:
            return config
        stored = None if self._is_composed else config_beside(Path(self.origin.file))
        if stored is not None and config is not None and not agrees(self.definition, stored, config):
            raise ResultsMismatch(
                f"{self.origin} was trained with the configuration "
                f"{part_of(stored, config, self.definition)}, not {config}; leave --config, --set and "
                "the flags of hyperparameters out"
            )
        if stored is None and config is None and self._is_random():
            raise UsageError(
                f"{self.origin}: it is not in the folder of a trial with a config.json, and get_config() "
                "draws another configuration each time; give the one that it was trained with by --config or "
                "--set"
            )
        if stored is not None:
            return stored
        has_none = self.definition.hparams is None and self.definition.function("get_config") is None
        return {} if config is None and has_none else config

    def check(self, trainer: Trainer, config: dict[str, Any]) -> None:
        """Load the weights into a model that is thrown away; raises `UsageError` where they do not fit.

        Each tensor of the network has to be in the file.
        """
        if self.trial is None or self.origin is None:
            return
        origin = self.origin
        read = read_weights(origin.file, str(origin), self.args.trust_checkpoint)
        if origin.sha256 and read.sha256 != origin.sha256:
            raise ResultsMismatch(f"{origin}: {self._another}")
        self.origin = replace(origin, sha256=read.sha256)
        model = trainer.passing_model(config)
        of = self._of_network if model.engine.foreign is None else self._of_module
        self._content = {"epoch": 0, "steps": 0, "reward": -math.inf, "trial": SINGLE, **of(model, read)}

    def _of_module(self, model: BaseModel, read: Weights) -> dict[str, Any]:
        """The state of a LightningModule with the weights; parts of it may be made by its hooks alone."""
        content = {"state_dict": read.tensors}
        try:
            model.engine.state.use(model, content, f"{self.origin}, {read.kind},")
        except StorageError as error:
            raise UsageError(str(error)) from error
        hyperparameters: Any = model.network.hparams
        self._tell_differences(hyperparameters, read.hyperparameters)
        return content

    def _of_network(self, model: BaseModel, read: Weights) -> dict[str, Any]:
        """The state of a model with the weights, and with what else is in the file."""
        origin = self.origin
        assert origin is not None
        where = f"{origin}, {read.kind},"
        if read.checkpoint.get("average", {}).get("count"):
            raise UsageError(
                f"{where} is a state of a training that averages its weights, and evaluates with the "
                "averages. Give the best.pt beside it, which has those"
            )
        match = Start(origin, lambda: read.tensors).put_into(model.network)
        others = read.checkpoint.get("network", {})  # what get_extra_state of a module gave is there, too
        match = replace(match, missing=tuple(name for name in match.missing if name not in others))
        if match.missing:
            raise UsageError(
                f"{origin}, {read.kind}, lacks tensors of the network: {listed(match.missing, SHOWN)}. What "
                "a model says without them means nothing: give the file of a whole model, or train the rest "
                "with --load-checkpoint"
            )
        for line in match.lines(origin):
            self.progress.say(line)
        self._use_rest(model, read.checkpoint, where)
        moment = {name: read.checkpoint[name] for name in ("epoch", "steps") if name in read.checkpoint}
        return moment | model.engine.state.weights(model)

    def _tell_differences(self, here: Mapping[str, Any], there: Mapping[str, Any]) -> None:
        """Say which hyperparameters of a LightningModule are other in its file, which no shape may show."""
        for name, value in there.items():
            both_plain = {type(value), type(here.get(name))} <= {bool, int, float, str}
            if both_plain and here[name] != value:
                self.progress.say(
                    f"note: {self.origin} was saved with {name}={value}, and here it is {here[name]}"
                )

    def _use_rest(self, model: BaseModel, checkpoint: Mapping[str, Any], where: str) -> None:
        """Give a model what a checkpoint has besides the weights of its network; say what it lacks."""
        try:
            lacking = model.engine.state.use_but_network(model, checkpoint, where)
        except StorageError as error:
            raise UsageError(
                f"{error}. A checkpoint is used with the definition that it was trained with; for the "
                "network alone, save its entry `network` in a file of its own, by torch.save"
            ) from error
        if lacking:
            self.progress.say(f"  not in the file, and as init_model made it: {listed(lacking, SHOWN)}")

    def install(self, config: dict[str, Any]) -> None:
        """Make them the best state of the trial, and the trial the best one."""
        trial, content = self.trial, self._content
        if trial is None or content is None or self.origin is None:
            return
        self.run_file.record_start(asdict(self.origin))
        trial.begin_attempt()
        trial.write_config(config)
        with trial.writing():
            checkpoints.save(trial.best_checkpoint, content)
        self.results.set_best(trial)
        self.run_file.record_single(config, finished=True)
        self.trial = None

    # The file.

    def _given(self) -> Origin | None:
        """What the flag gives; raises `UsageError` where it does not go with the others."""
        args = self.args
        if (file := args.weights) is None:
            return None
        names = [f"--{name.replace('_', '-')}" for name in FLAGS if getattr(args, name) is not None]
        names += [f"--{name}" for name in ("hyper", "train") if getattr(args, name)]
        if names:
            raise UsageError(
                f"{WEIGHTS} evaluates and predicts with weights as they are, and {names[0]} asks for a "
                "training: leave one of them out. --load-checkpoint begins a training with the weights of a "
                "file"
            )
        if not (args.eval or args.predict):
            raise UsageError(f"{WEIGHTS}: for tests and predictions alone; add --eval or --predict")
        return Origin.given(WEIGHTS, file)

    def _check_same(self, recorded: Origin | None) -> None:
        """Hold what is given against what the result directory has."""
        given, there = self.origin, self.results.path
        assert given is not None
        if recorded is None:
            raise ResultsMismatch(
                f"{given}: what {there} has was trained there. Leave {WEIGHTS} out to use that, or choose "
                "another directory with --result"
            )
        self.origin = given.as_recorded(recorded, self._another)

    @property
    def _another(self) -> str:
        return f"{self.results.path} has the weights of another file; choose another directory with --result"

    def _is_random(self) -> bool:
        """Whether two draws of the configuration differ."""
        if self.definition.function("get_config") is None:
            return False
        get_config = configurations(self.definition, {}, self.args.seed, searches=False)
        seeds = (derive_seed(self.args.seed, "config", SINGLE, number) for number in range(4))
        return len({canonical(draw(get_config, seed)) for seed in seeds}) > 1
