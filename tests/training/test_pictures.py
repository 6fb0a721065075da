"""Pictures of a set's first examples: when they are made, of what, and as images."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Project
from torch import nn

from base_model import BaseModel
from batch_generator import MatrixBatchGenerator
from helixband import Picture, attention_maps
from helixband.errors import DefinitionError
from helixband.networks import ConvEncoder, TransformerEncoder
from helixband.results.pictures import read_pictures
from helixband.training.drawing import png
from helixband.training.pictures import of_set
from helixband.training.tensorboard import TensorBoardLog

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed"
)


class Plain(BaseModel):
    def init_model(self) -> None:
        super().init_model(nn.Flatten(0), nn.MSELoss(), None)


class Pictured(Plain):
    def pictures(self, x: Any, y_true: Any, y_pred: Any) -> Any:
        assert isinstance(x, torch.Tensor) and not self.network.training
        return {"all": Picture([x[:, 0].tolist(), y_true, y_pred], None, ["x", "true", "pred"])}


def numbers(n: int = 6) -> MatrixBatchGenerator:
    return MatrixBatchGenerator(np.arange(n, dtype=float)[:, None], np.arange(n) / 10)


def test_a_picture_is_made_of_the_first_examples() -> None:
    found = of_set(Pictured(), numbers())["all"]
    expected = [[0, 1, 2, 3], [0, 0.1, 0.2, 0.3], [0, 1, 2, 3]]
    np.testing.assert_allclose(found.values, np.array(expected, np.float32))


def test_a_model_without_pictures_reads_nothing() -> None:
    class Unread:
        def __iter__(self) -> Any:
            raise AssertionError

    assert of_set(Plain(), Unread()) == {}


def test_what_is_no_pictures_is_refused() -> None:
    class Wrong(Plain):
        def pictures(self, x: Any, y_true: Any, y_pred: Any) -> Any:
            return {"a": y_pred}

    with pytest.raises(DefinitionError, match="as 'a'; it has to be a Picture"):
        of_set(Wrong(), numbers())


def test_attention_maps_are_the_weights_of_each_head() -> None:
    torch.manual_seed(0)
    encoder = TransformerEncoder(4, 8, heads=2, layers=2).eval()
    x = torch.tensor([[0, 1, 2, 3, 0, 1], [3, 3, 3, 3, 3, 3]])
    found = attention_maps(encoder, x, positions=5, columns="ACGTAC")
    assert list(found) == [f"attention, layer {i}, head {k}" for i in (1, 2) for k in (1, 2)]
    weights = encoder.inspect(x).attentions
    assert weights is not None
    one = weights[0, 1, 0, :5, :5].detach().numpy()
    np.testing.assert_allclose(found["attention, layer 2, head 1"].values, one / one.max(), rtol=1e-5)
    assert found["attention, layer 2, head 1"].rows == ("A", "C", "G", "T", "A")
    with pytest.raises(DefinitionError, match="it takes a TransformerEncoder"):
        attention_maps(ConvEncoder(4), x)  # type: ignore[arg-type]


@needs_tensorboard
def test_an_image_has_the_colours_of_its_cells() -> None:
    from io import BytesIO

    from PIL import Image

    data, width, height = png(Picture([[1.0, -1.0, np.nan, 0.0]]))
    image = Image.open(BytesIO(data)).convert("RGB")
    assert image.size == (width, height)
    pixels = [image.getpixel((width - 35 + 10 * place, 5)) for place in range(4)]
    assert pixels == [(0, 114, 178), (213, 94, 0), (255, 255, 255), (255, 255, 255)]
    assert png(Picture(np.zeros((2, 3)), [["A", "", "[CLS]"]] * 2, ["given", "真"]))[1] > 3 * 11


@needs_tensorboard
def test_images_of_an_epoch_are_logged(tmp_path: Path) -> None:
    with TensorBoardLog(tmp_path) as log:
        assert not log.is_open
        log.add({"epoch": 1, "reward": 0.5})
        assert log.is_open
        log.show({"a": Picture([[1.0]])}, 1)
    assert images(tmp_path) == {"a": [1]}


def test_without_pictures_no_file_is_made(tmp_path: Path) -> None:
    with TensorBoardLog(tmp_path / "logs") as log:
        log.show({}, 1)
    assert not (tmp_path / "logs").exists()


def images(directory: Path) -> dict[str, list[int]]:
    """The epochs of each image."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory), size_guidance={"images": 0})
    events.Reload()
    return {tag: [event.step for event in events.Images(tag)] for tag in events.Tags()["images"]}


DEFINITION = """
import torch
from torch import nn
import base_model
from helixband import Picture

class Model(base_model.RegressionModel):
    def init_model(self):
        network = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))
        super().init_model(network, torch.optim.SGD(network.parameters(), 0.01))

    def pictures(self, x, y_true, y_pred):
        return {"mine <b>": Picture([y_true, y_pred], rows=["true", "predicted"])}
"""


@needs_tensorboard
def test_a_run_has_the_pictures_of_a_definition_in_tensorboard_and_for_the_report(project: Project) -> None:
    project.define(DEFINITION)
    assert project.run("--epoch", "2", "--eval").code == 0
    assert images(project.results / "logs" / "single") == {"mine <b>": [2]}
    found = read_pictures(project.results / "test_pictures.npz")["mine <b>"]
    test = np.load(project.results / "test_predictions.npz")
    np.testing.assert_allclose(found.values, [test["y_true"][:4], test["y_pred"][:4]], rtol=1e-5)
    assert "test_pictures.npz" in project.json("run.json")["digests"]
    (project.results / "test_pictures.npz").unlink()
    assert project.run("--epoch", "2", "--eval").code == 0
    assert (project.results / "test_pictures.npz").exists()  # as what is missing is made again
