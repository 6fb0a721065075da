"""A LightningModule as a model: trained, evaluated and used by the Trainer of its package."""

import contextlib
import copy
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar
from weakref import WeakSet

from base_model import DEBUG_BATCHES, BaseModel
from helixband import interruption
from helixband.errors import DataError, DefinitionError
from helixband.interop import arguments, packages
from helixband.interop.callback import STATE, Goal, Recorder, States
from helixband.interop.course import Course
from helixband.interop.data import PREDICT, TEST, Loaders, as_loader, check_parts
from helixband.interop.place import Place
from helixband.interop.planned import Trainer
from helixband.interop.prepared import ModulePreparation
from helixband.interop.scored import Predicted, Seen
from helixband.interop.weights import LateWeights, LightningState
from helixband.results.directory import SINGLE, Row, Trial
from helixband.training import processes
from helixband.training.foreign import Companions
from helixband.training.processes import Processes, closed_groups
from helixband.training.result import Result
from helixband.training.state import set_epoch

ONCE: dict[str, Any] = dict.fromkeys(
    ("limit_train_batches", "limit_val_batches", "max_epochs", "check_val_every_n_epoch"), 1
)
"""The arguments of a Trainer with which a module is tried."""


class LightningModel(BaseModel):
    """A LightningModule in the place of a network, its criterion and its optimizer.

    `parts` are the functions of the definition: get_module(config), and perhaps get_trainer(config), and the
    names optimized_metric and mode.
    """

    parts: ClassVar[Mapping[str, Any]]
    preparation: ClassVar[ModulePreparation]
    _trained_with: ClassVar[WeakSet[Any]] = WeakSet()
    left_out = ""
    """Why labels and predictions of a test are not known, where they are not."""
    companions: Companions | None = None
    """Where a training by several devices finds other processes."""

    def __init__(self, config: Mapping[str, Any] | None = None, args: Namespace | None = None) -> None:
        super().__init__(config, args)
        self.engine.foreign = self
        self.engine.state = LightningState()  # type: ignore[assignment]

    def init_model(self) -> None:  # type: ignore[override]
        """Make the module."""
        module = self.parts["get_module"](self.config)
        self.package = packages.package_of(module, "LightningModule", "get_module")
        super().init_model(module, _trained_by_its_trainer)
        self.goal = Goal(*(self._named(name, module) for name in ("optimized_metric", "mode")))

    def _named(self, name: str, module: Any) -> str | None:
        """What the definition, or else the module, has by this name."""
        value = self.parts.get(name, getattr(module, name, None))
        if not isinstance(value, str | None):
            raise DefinitionError(f"{name} is {value!r}; it has to be a text")
        return value

    def split_batch(self, batch: Any) -> tuple[Any, ...]:
        """(x, y) of a batch that is a pair; the module itself takes batches of any form."""
        if isinstance(batch, tuple | list) and len(batch) == 2:
            return batch[0], batch[1]
        raise DataError(f"a batch is a {type(batch).__name__}, and no pair (x, y)")

    def forward(self, x: Any) -> dict[str, Any]:
        """What `predict_step` gives for a batch, as `y_pred`; several arrays are a tuple, as to a Trainer."""
        module: Any = self.network
        return {"y_pred": module.predict_step(tuple(x) if isinstance(x, list) else x, 0)}

    # A whole set.

    def fit(
        self,
        train: Iterable[Any],
        val: Iterable[Any],
        epochs: int,
        trial: Trial | None = None,
        seed: int | None = None,
        on_epoch: Callable[[Row], None] | None = None,
    ) -> list[Row]:
        """Train until `epochs` epochs are done; as `BaseModel.fit`."""
        total = max(epochs, int(getattr(self.args, "total_epochs", None) or 1))
        course = Course(self, epochs, total, trial, on_epoch)
        course.begin()
        if self.engine.record.ended is None:
            seed = self.args.seed if seed is None else seed
            try:
                self._train(course, train, val, seed)
            finally:
                course.keeper.flush()
        if _rank() == 0:
            course.end()
        return self.engine.record.history

    def _train(self, course: Course, train: Iterable[Any], val: Iterable[Any], seed: int) -> None:
        states = packages.derived(self.package, States, "plugins.io.TorchCheckpointIO")()
        recorder = packages.derived(self.package, Recorder, "callbacks.Checkpoint")(
            self.goal,
            seed,
            states,
            course.close,
            course.keep,
            lambda epoch: set_epoch(train, seed, epoch),
            rank=_rank(),
        )
        name = "" if course.trial is None or course.trial.id == SINGLE else course.trial.id
        trainer = self._trainer(recorder, states, name=name, max_epochs=course.total)
        arguments.check_validates(trainer, course.epochs, course.total)
        check_parts(train, trainer.world_size)
        trainer.on_total = course.plan_by
        sets = self._sets(train, val)
        with self._accompanied(trainer, seed) as together:
            if together is not None:
                course.share(together)
            recorder.go_on(self.engine.record.epoch, course.start, together)
            where = STATE if course.start is not None else None
            self._run(recorder, trainer, "fit", sets, ckpt_path=where)

    @contextlib.contextmanager
    def _accompanied(self, trainer: Any, seed: int) -> Iterator[Processes | None]:
        """Around a training: all its processes, if it has several."""
        if trainer.world_size == 1:
            yield None
        elif (together := processes.ours()) is not None:
            with arguments.of_several(seed):
                yield together
        elif self.companions is None:
            raise DefinitionError(
                f"the Trainer has {trainer.world_size} devices, and a training by several is one of a run: "
                "give devices=1"
            )
        else:
            device, environment = trainer.strategy.root_device.type, self.preparation.environment
            with self.companions(trainer.world_size, device, environment) as together:
                with arguments.of_several(seed):
                    yield together

    def evaluate(self, generator: Iterable[Any]) -> Result:
        """What `test_step` logs over a whole set."""
        return Result(self.score(generator, None)[0])

    def score(self, generator: Iterable[Any], samples: int | None) -> tuple[dict[str, float], Any, Any]:
        """(what `test_step` logs, y_true, y_pred): the latter as `test_step` or `predict_step` gives them."""
        self._refuse_dropout(samples)
        self._check_overridden("test_step", "--eval")
        seen = packages.derived(self.package, Seen, "callbacks.Callback")()
        found: list[dict[str, float]] = self._use("test", generator, TEST, seen, verbose=False)
        result = {name: float(value) for each in found for name, value in each.items()}
        if not result:
            raise DefinitionError(
                f"{type(self.network).__name__}.test_step logged nothing; log what it measures with self.log"
            )
        true, predicted = seen.joined()
        self.left_out = seen.left_out
        return result, true, predicted

    def predict(self, generator: Any) -> Any:
        """What `predict_step` gives over a whole set, joined: NumPy (N, …), of several loaders in a row."""
        predicted = packages.derived(self.package, Predicted, "callbacks.Callback")()
        self._use("predict", generator, PREDICT, predicted, return_predictions=False)
        return predicted.joined()

    def predict_mc(self, generator: Any, samples: int) -> tuple[Any, Any]:
        """Refused: dropout is the module's."""
        self._refuse_dropout(samples)
        raise AssertionError

    def rehearse(self, sets: Mapping[str, Any]) -> None:
        """Make a Trainer, and one batch of training and validation, of a module that is thrown away.

        Raises what they raise, and `DefinitionError` where the metric to optimize is not logged.
        """
        if "train" not in sets:
            return
        states = packages.derived(self.package, States, "plugins.io.TorchCheckpointIO")()
        recorder = packages.derived(self.package, Recorder, "callbacks.Checkpoint")(
            self.goal, self.args.seed, states, lambda row: True, lambda state: None, strict=False
        )
        check_parts(sets["train"], self._trainer(recorder, states, max_epochs=1).world_size)
        trainer = self._trainer(recorder, states, own=False, **ONCE, val_check_interval=1.0)
        self._run(recorder, trainer, "fit", self._sets(sets["train"], sets.get("val")))

    def _refuse_dropout(self, samples: int | None) -> None:
        if samples:
            raise DefinitionError(
                "--mc-dropout is for a BaseModel: a LightningModule says itself what its test_step and "
                "predict_step do; leave it out"
            )

    def _check_overridden(self, step: str, flag: str) -> None:
        if not packages.overrides(self.network, step):
            raise DefinitionError(f"{type(self.network).__name__} has no {step}, which {flag} needs")

    # The Trainer.

    def _trainer(
        self, *added: Any, own: bool = True, looks: Sequence[Any] = (), name: str = "", **ours: Any
    ) -> Any:
        """A Trainer with the definition's arguments, the callback and the plugin that are `added`, and ours.

        Without these, it gives the module its weights, and the callbacks `looks` look on. `name` is that of
        the trial in a search.

        Without its `own`, the definition's callbacks and loggers are left out.
        """
        given = self.parts["get_trainer"](self.config) if "get_trainer" in self.parts else {}
        given, callbacks, plugins = arguments.taken(given, self.package)
        if own:
            callbacks, loggers = self._copied(callbacks, arguments.listed(given.get("logger")), bool(added))
            given |= {"logger": loggers} if loggers else {}
            if name:
                arguments.apart(callbacks, given, name)
        else:
            callbacks, given["logger"] = [], False
        quietly = ["logger", "enable_progress_bar", "enable_model_summary"]
        base: dict[str, Any] = {name: False for name in quietly}
        base |= {"accelerator": "cpu" if self.args.cpu else "auto", "devices": 1, "num_sanity_val_steps": 0}
        if self.args.debug:
            base |= {f"limit_{name}_batches": DEBUG_BATCHES for name in ("train", "val", "test", "predict")}
        if added:
            fabric = packages.fabric_of(self.package)
            place = packages.derived(fabric, Place, "plugins.ClusterEnvironment")(_rank())
            callbacks, plugins = [*callbacks, added[0]], [*plugins, added[1], place]
        else:
            callbacks = [each for each in callbacks if not arguments.is_checkpoint(each, self.package)]
            late = packages.derived(self.package, LateWeights, "callbacks.Callback")(self.engine.state)
            callbacks = [late, *callbacks, *looks]
            base["enable_checkpointing"] = False
        with packages.quiet(self.package), arguments.made(self.package):
            kind = packages.derived(self.package, Trainer, "Trainer")
            made = {**base, **given, **ours, "callbacks": callbacks, "plugins": plugins}
            trainer = kind(**made)
            if trainer.world_size > 1 and not (added and own):
                trainer = kind(**{**made, **arguments.of_one_device(trainer)})
            arguments.leave_to_the_run(trainer, self.package)
        arguments.check_processes(trainer, self.package)
        return trainer

    def _copied(
        self, callbacks: list[Any], loggers: list[Any], is_training: bool
    ) -> tuple[list[Any], list[Any]]:
        """Callbacks and loggers of this Trainer alone: a definition may give each training the same ones.

        Raises `DefinitionError` where it does, and they cannot be copied.
        """
        loggers = [each for each in loggers if not isinstance(each, bool)]
        try:
            return copy.deepcopy((callbacks, loggers))
        except Exception as error:  # of their own methods: any
            for each in [*callbacks, *loggers]:
                if each in self._trained_with:
                    raise DefinitionError(
                        f"get_trainer gave a {type(each).__name__} that an earlier training has had, and "
                        f"what it holds cannot be copied ({error}): make a new one in get_trainer each time"
                    ) from error
            if is_training:
                self._trained_with.update([*callbacks, *loggers])
            return callbacks, loggers

    def _sets(self, train: Any, val: Any) -> dict[str, Any]:
        """The sets as arguments of `Trainer.fit`: a DataModule where both are its own."""
        if isinstance(train, Loaders) and isinstance(val, Loaders | None):
            packages.check_same(self.package, train.source.package)
            source = train.source.of(self.config)
            source.prepare()
            return {"datamodule": source.datamodule}
        rows = self.args.batch_size
        sets = {"train_dataloaders": as_loader(train, rows)}
        return sets if val is None else {**sets, "val_dataloaders": as_loader(val, rows)}

    def _use(self, what: str, generator: Any, name: str, *looks: Any, **keywords: Any) -> Any:
        """What the Trainer's method of this name gives over a set."""
        if isinstance(generator, Loaders) and generator.name == name:
            packages.check_same(self.package, generator.source.package)
            source = generator.source.of(self.config)
            source.prepare()
            data = {"datamodule": source.datamodule}
        else:
            data = {"dataloaders": as_loader(generator, self.args.batch_size)}
        ours: dict[str, Any] = {"logger": False} if what == "predict" else {}  # there is nothing to log
        return self._run(None, self._trainer(looks=looks, **ours), what, data, **keywords)

    def _run(self, recorder: Any, trainer: Any, what: str, data: Mapping[str, Any], **keywords: Any) -> Any:
        """Have the Trainer do its work; an interruption is raised as that, and no exit of the Trainer's."""
        try:
            if packages.overrides(self.network, "prepare_data"):
                module: Any = self.network
                module.trainer = trainer  # which it may read, as when the Trainer calls it
                self.preparation.prepare(module)
            with packages.quiet(self.package), arguments.refused(self.package), closed_groups():
                return getattr(trainer, what)(self.network, **data, **keywords)
        except SystemExit:
            interruption.check()
            if recorder is not None and isinstance(recorder.raised, KeyboardInterrupt):
                raise recorder.raised from None
            raise
        finally:
            self.network._trainer = None  # type: ignore[assignment]


def _rank() -> int:
    """The number of this process among those of a training."""
    together = processes.ours()
    return 0 if together is None else together.rank


def _trained_by_its_trainer(*arguments: Any) -> Any:
    raise DefinitionError("a LightningModule computes its loss in training_step")
