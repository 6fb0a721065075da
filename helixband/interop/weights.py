"""The weights of a LightningModule, taken from checkpoints and held against them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from helixband.errors import StorageError
from helixband.training.stored import copied, revived


class LightningState:
    """What `training.state.ModelState` is to other models: weights of checkpoints."""

    opaque: tuple[Any, ...] = ()

    def use(self, model: Any, content: Mapping[str, Any], where: str) -> None:
        """Take the weights of a checkpoint; raises `StorageError` where they do not fit."""
        if "state_dict" not in content:
            raise StorageError(f"{where} is not of a LightningModule, which the definition has now")
        try:
            model.network.load_state_dict(revived(content["state_dict"]))
        except RuntimeError as error:
            raise StorageError(f"{where} does not fit the module of this definition: {error}") from error

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
