"""A predictor from a bundle or a result directory."""

import os
import warnings
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch

from base_model import BaseModel
from helixband.definition import Definition, load_definition
from helixband.env import as_recorded
from helixband.errors import HelixbandError, HelixbandWarning, StorageError, UsageError
from helixband.files import absolute, exists, read_json, read_whole
from helixband.pipelines import bundle as files
from helixband.pipelines import state
from helixband.pipelines.bundle import Bundle, is_bundle
from helixband.pipelines.form import Form, form_like, read_form
from helixband.pipelines.graph import Graph
from helixband.pipelines.predictor import Predictor, locked
from helixband.randomness import Held, holding
from helixband.results.best import best_state
from helixband.results.digests import file_digest
from helixband.results.directory import Results, Trial, existing_results
from helixband.run.code import changed_modules
from helixband.run.command import make_parser
from helixband.run.runfile import RunFile
from helixband.run.trained import check_weights, no_model
from helixband.search.executors.trial import make_model

Environment = tuple[Mapping[str, str], Mapping[str, str | None]]
"""What a definition read of the environment, as `as_recorded` takes it."""

CODE = (
    "trust is missing: {} has a def.py, which is run as code, and could do anything that you can. If you "
    "trust whoever made it, give trust=True (on a command line --trust)"
)


def opened(path: str | os.PathLike[str], trust: bool, cpu: bool, data: str | None) -> Predictor:
    """What `helixband.pipelines.load` gives."""
    place = Path(absolute(path))
    if is_bundle(place):
        if data is not None:
            raise UsageError(f"{place} is a bundle, which needs no data directory; leave {data} out")
        return _of_bundle(Bundle(place), trust, cpu)
    if place.is_dir() and not trust:
        existing_results(place)
        raise UsageError(CODE.format(place))
    if not place.is_dir():
        raise UsageError(f"there is no bundle and no result directory {place}")
    source = Source(existing_results(place), cpu, data)
    return source.predictor()


class Source:
    """A trained model of a result directory, with all that its predictions depend on.

    Its definition is the one that made the weights, with the modules of the folder that it was run from, or
    else of the result directory.
    """

    def __init__(self, results: Results, cpu: bool = False, data: str | None = None) -> None:
        self.results = results
        trial = results.best_trial()
        if trial is None:
            raise no_model(results.path, "nothing was trained there")
        check_weights(results, trial)
        self.trial: Trial = trial
        self.config: dict[str, Any] = results.config_of(trial) or {}
        self.run = results.run()
        self.args = arguments({}, cpu)
        for name in ("seed", "epoch", "batch_size", "eta", "schedule", "sampler", "stop_hopeless"):
            setattr(self.args, name, None)
        self.args.keep_checkpoints = self.args.training = None
        RunFile(results).settle(self.args)
        self.args.data = absolute(data or self.run.get("data", os.curdir))
        self.plan = trial.plan() or {"epochs": int(self.args.epoch or 1), "steps_per_epoch": 1}
        self.environment = (self.run.get("environment", {}), self.run.get("os_environ", {}))
        self.state = best_state(results, trial)
        self.random = Held()
        self.definition: Definition
        self.model: BaseModel
        locked(self._load)

    def predictor(self, form: Form | None = None, example: list[Any] | None = None) -> Predictor:
        """A predictor in this process."""
        form = form or self.form()
        return Predictor(self.model, self.definition, form, example, self.environment, self.random)

    def form(self) -> Form | None:
        """How files are read where the definition does not say it: as for training.

        Raises `UsageError` where the training data are needed, and are not there.
        """
        if self.definition.function("get_pred_generator") or self.definition.function("predict_texts"):
            return None
        try:
            with as_recorded(*self.environment), holding(self.random):
                found: Form = locked(self._form)
                return found
        except HelixbandError as error:
            raise UsageError(
                f"{self.definition.path} has no get_pred_generator, so inputs are read as those for "
                f"training, and the data of {self.args.data} cannot tell how: {error}; "
                "give their directory (data=…, --data)"
            ) from error

    def _form(self) -> Form:
        return form_like(self.definition.sequence_training_data(self.args.data, self.args.batch_size))

    def _load(self) -> None:
        copy = self.results.definition_file
        described = self.run.get("definition", {})
        recorded = Path(str(described.get("path", copy)))
        source = read_whole(copy) if exists(copy) else None
        if source is not None and described.get("sha256") not in (None, file_digest(copy)):
            raise StorageError(
                f"{copy} was changed after it was written, and is not what made the weights; put back a copy "
                "of it"
            )
        path = recorded if recorded.parent.is_dir() and exists(recorded) else copy
        if source is None and described.get("sha256") not in (None, file_digest(path)):
            raise UsageError(f"{copy} is missing, and {path} is another version of it")
        given = ",".join(described.get("classes", ())) or path
        trained = (self.trial.id, self.config, self.plan)
        use = (self.state, str(self.trial.best_checkpoint))
        self.definition, self.model = _loaded(
            given, source, self.args, self.environment, self.random, trained, use
        )
        if files := changed_modules(self.definition, self.run.get("modules", {})):
            warnings.warn(
                f"{self.results.path} was made with another version of {files}, which the definition imports",
                HelixbandWarning,
                stacklevel=2,
            )


def arguments(settings: Mapping[str, Any], cpu: bool) -> Namespace:
    """The command line that predicts with such settings."""
    args = make_parser().parse_args(["--model", "def.py"])
    vars(args).update(settings)
    args.cpu, args.hparams = cpu, {}
    return args


def _of_bundle(bundle: Bundle, trust: bool, cpu: bool) -> Predictor:
    document = bundle.document
    form = document["form"] and read_form(document["form"])
    example, graph = document["example"], document["graph"]
    settings = {**document["settings"], "training": document["settings"]["with"]}
    if not trust:
        if graph is None:
            raise UsageError(CODE.format(bundle.path))
        graph = Graph(bundle.path / files.GRAPH, graph, settings["seed"])
        return Predictor(graph, None, form, example)
    random, environment = Held(), (document["environment"], document["os_environ"])

    def load() -> Predictor:
        args = arguments(settings, cpu)
        classes = [str(bundle.definition.parent / each) for each in document["classes"]]
        given = ",".join(classes) or bundle.definition
        trained = (document["trial"], document["config"], document["plan"])
        tensors = safetensors.torch.load(read_whole(bundle.path / files.WEIGHTS))
        use = (state.joined(tensors, read_json(bundle.path / files.STATE)), str(bundle.path / files.WEIGHTS))
        definition, model = _loaded(given, None, args, environment, random, trained, use)
        return Predictor(model, definition, form, example, environment, random)

    found: Predictor = locked(load)
    return found


def _loaded(
    given: str | Path,
    source: bytes | None,
    args: Namespace,
    environment: Environment,
    random: Held,
    trained: tuple[str, dict[str, Any], dict[str, Any]],
    use: tuple[dict[str, Any], str],
) -> tuple[Definition, BaseModel]:
    """The definition and its model with its weights, made under what the training read of the environment.

    `trained`: the trial's name, configuration and plan; `use`: its state, and where that is from.
    """
    with as_recorded(*environment), holding(random):
        definition = load_definition(given, args.seed, source)
        definition.arguments = (args.data, args.batch_size)
        args.model = str(definition.path)
        try:
            model = make_model(definition, args, *trained)
            model.engine.state.use(model, *use)
        except (Exception, SystemExit) as error:
            raise definition.explain(error) from error
    return definition, model
