"""The weights of a LightningModule, taken from checkpoints and held against them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from helixband.errors import StorageError
from helixband.interop import packages
from helixband.training.stored import copied, revived


class LightningState:
    """What `training.state.ModelState` is to other models: weights of checkpoints."""

    opaque: tuple[Any, ...] = ()

    def __init__(self) -> None:
        self._later: tuple[Any, str] | None = None

    def use(self, model: Any, content: Mapping[str, Any], where: str) -> None:
        """Take the weights of a checkpoint; raises `StorageError` where they do not fit."""
        if "state_dict" not in content:
            raise StorageError(f"{where} is not of a LightningModule, which the definition has now")
        tensors = revived(content["state_dict"])
        self._later = (tensors, where) if self._is_built_late(model) else None
        try:
            model.network.load_state_dict(tensors)
        except RuntimeError as error:
            if self._later is None:
                raise _unfit(where, error) from error

    def use_late(self, module: Any) -> None:
        """Take the weights that `use` got last, where hooks of the Trainer have made parts of the module."""
        if self._later is not None:
            tensors, where = self._later
            try:
                module.load_state_dict(tensors)
            except RuntimeError as error:
                raise _unfit(where, error) from error

    @staticmethod
    def _is_built_late(model: Any) -> bool:
        """Whether hooks of the module may make parts of it, at each use by a Trainer."""
        return any(packages.overrides(model.network, hook) for hook in ("setup", "configure_model"))

    def restore(self, model: Any, content: Mapping[str, Any], generator: Any, where: str) -> None:
        """As `use`; the Trainer puts back all else where a training goes on."""
        self.use(model, content, where)

    def weights(self, model: Any) -> dict[str, Any]:
        """What evaluation and prediction depend on."""
        return {"state_dict": copied(model.network.state_dict(), "the module")}

    def differences(self, content: Mapping[str, Any]) -> list[str]:
        """The optimizers are the Trainer's, and are not compared."""
        return []

    @contextmanager
    def unmoved(self, model: Any) -> Iterator[None]:
        """Nothing of a LightningModule is called apart from its Trainer."""
        yield


class LateWeights:
    """A callback that gives a module its weights when all of its parts are there."""

    def __init__(self, state: LightningState) -> None:
        self._state = state

    def on_test_start(self, trainer: Any, module: Any) -> None:
        """Before a test."""
        self._state.use_late(module)

    def on_predict_start(self, trainer: Any, module: Any) -> None:
        """Before a prediction."""
        self._state.use_late(module)


def _unfit(where: str, error: RuntimeError) -> StorageError:
    return StorageError(f"{where} does not fit the module of this definition: {error}")
