"""All that a GPU is to be seen for, in one call of a few minutes: the steps, packed trials, a whole search.

Without a GPU it says so and ends. Each part is another script of this folder, or one here, and its ratios are
taken in one run. The first lines compare what the GPU computes with the CPU, and captured validation and
prediction with plain ones.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import EXAMPLES, ROOT, load_script, make_parser, report, setting, table
from step import BATCH_SIZE, TASKS, measure
from torch import Tensor, nn

from base_model import BaseModel, RegressionModel, choose_device
from batch_generator import MatrixBatchGenerator
from helixband import metrics
from helixband.randomness import seed_everything
from helixband.training.batch_metrics import ACCURACY, LABEL_ACCURACY, MSE
from helixband.training.replays import REPLAYS

HERE = Path(__file__).parent


def trained(task: Any, config: dict[str, Any], args: Namespace, epochs: int = 2) -> tuple[BaseModel, Any]:
    seed_everything(0)
    model = task.definition.Model(config, args)
    train = MatrixBatchGenerator(*task.train, BATCH_SIZE, shuffle=True)
    return model, model.fit(train, MatrixBatchGenerator(*task.val), epochs, seed=0)


def agreement() -> list[list[str]]:
    """How the losses of two epochs differ: captured, eager, and on the CPU; without dropout."""
    rows = []
    for name, make in TASKS.items():
        task = make()
        config = {**task.config, **({"dropout": 0.0} if "dropout" in task.config else {})}
        losses = {}
        for way, cpu, training in (
            ("CPU", True, {}),
            ("eager", False, {"capture": False}),
            ("captured", False, {}),
        ):
            args = Namespace(batch_size=BATCH_SIZE, cpu=cpu, seed=0, training=training)
            losses[way] = trained(task, config, args)[1][-1]["train_loss"]
        off = [f"{abs(losses[way] / losses['CPU'] - 1):.1e}" for way in ("eager", "captured")]
        rows.append([name, f"{losses['CPU']:.6f}", *off])
    return rows


PASSES = 20
"""Of an evaluation or prediction that is timed."""


def evaluations() -> list[list[str]]:
    """Validation and prediction of 20 batches: whether captured and plain numbers are equal, and times.

    Times are µs a batch, without the first passes, in which the shape is captured.
    """
    rows = []
    for name, make in TASKS.items():
        task = make()
        chosen = np.resize(np.arange(len(task.val[0])), 20 * BATCH_SIZE)
        x, y = (part[chosen] for part in task.val)
        labelled, unlabelled = (
            MatrixBatchGenerator(*parts, batch_size=BATCH_SIZE) for parts in ((x, y), (x,))
        )
        found, times = {}, {}
        for way in ("plain", "captured"):
            training = {} if way == "captured" else {"capture": False}
            args = Namespace(batch_size=BATCH_SIZE, cpu=False, seed=0, training=training)
            model = task.new_model(args)
            found[way] = [(model.evaluate(labelled), model.predict(unlabelled)) for _ in range(3)]
            for step, data in (("evaluate", labelled), ("predict", unlabelled)):
                torch.cuda.synchronize()
                started = time.perf_counter()
                for _ in range(PASSES):
                    getattr(model, step)(data)
                times[step, way] = (time.perf_counter() - started) / PASSES / 20 * 1e6
        same = all(
            one[0] == other[0] and np.array_equal(one[1], other[1])
            for one, other in zip(*found.values(), strict=True)
        )
        kept = f"{len(REPLAYS._kept)} captured so far"
        rows.append([name, "equal" if same else "DIFFER", kept, *(f"{k}: {v:.0f}" for k, v in times.items())])
    return rows


class Waiting(nn.Module):
    """A layer that waits for the device, which no graph can hold."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum().item() > 0 else -x


class Waits(RegressionModel):
    def init_model(self) -> None:
        network = nn.Sequential(nn.Linear(10, 8), Waiting(), nn.Dropout(0.5), nn.Linear(8, 1))
        super().init_model(network, optimizer=torch.optim.Adam(network.parameters()))


def fallbacks() -> list[list[str]]:
    """What is told of a network that cannot be captured; its dropout draws on, and its training ends well."""
    X = np.random.default_rng(0).random((1000, 10)).astype(np.float32)
    data = MatrixBatchGenerator(X, X[:, :1], BATCH_SIZE)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model = Waits({}, Namespace(batch_size=BATCH_SIZE, cpu=False, seed=0))
        history = model.fit(data, data, 3)
        model.predict(data)
        model.predict(data)
    return [[f"{len(history)} epochs"], *([str(each.message)] for each in told)]


def metrics_of_training() -> list[list[str]]:
    """How the metrics of 50 batches of our own models on the GPU differ from those of NumPy, at most."""
    rng, rows = np.random.default_rng(0), []
    of_labels = {MSE: metrics.mse, ACCURACY: metrics.accuracy, LABEL_ACCURACY: mean_over_labels}
    for metric, plain in of_labels.items():
        y_true = rng.integers(0, 2, (50, BATCH_SIZE, 3)[: 2 if metric is ACCURACY else 3]).astype(np.float32)
        y_pred = rng.random((50, BATCH_SIZE, 3)[: y_true.ndim]).astype(np.float32)
        found = metric.on_device(y_true, torch.from_numpy(y_pred).to(choose_device()))
        assert found is not None
        expected = [plain(*batch) for batch in zip(y_true, y_pred, strict=True)]
        off = np.abs(found[metric.name].numpy(force=True) - expected).max()
        rows.append([metric.name, f"{off:.1e}"])
    return rows


def mean_over_labels(y_true: Any, y_pred: Any) -> float:
    return metrics.over_labels(metrics.accuracy, y_true, y_pred).mean


def repeats() -> list[list[str]]:
    """Whether two captured trainings, with dropout, are equal bit for bit."""
    rows = []
    for name, make in TASKS.items():
        task, args = make(), Namespace(batch_size=BATCH_SIZE, cpu=False, seed=0)
        weights = [trained(task, dict(task.config), args)[0].network.state_dict() for _ in range(2)]
        same = all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
        rows.append([name, "equal" if same else "DIFFER"])
    return rows


def steps(rounds: int, epochs: int) -> dict[str, Any]:
    """The runner beside bare PyTorch and Lightning, and the runner without capture."""
    found = {}
    for name, make in TASKS.items():
        args = Namespace(batch_size=BATCH_SIZE, cpu=False, seed=0)
        found[name] = measure(make(), rounds, epochs, args)
    return found


def script(name: str, *flags: str) -> Any:
    """The document of another script of this folder."""
    command = [sys.executable, str(HERE / name), "--json", *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"failed": (done.stderr or done.stdout)[-600:]}


DEFINITION = """
import numpy as np
from conv_model import Model, get_config

from batch_generator import MatrixBatchGenerator


def read(data_dir, name, **options):
    part = np.load(f"{data_dir}/{name}.npz")
    return MatrixBatchGenerator(part["x"], part["y"], **options)


def get_train_generator(data_dir, batch_size):
    return read(data_dir, "train", batch_size=batch_size, shuffle=True)


def get_val_generator(data_dir):
    return read(data_dir, "valid")
"""


def search(folder: Path, results: Path, flags: list[str], seed: int, epochs: int) -> tuple[float, float]:
    """(seconds of the search, best reward) of the conv example."""
    command = [sys.executable, ROOT / "main.py", "-f", folder / "def.py", "-d", folder, "-r", results]
    command += ["--hyper", "--epoch", epochs, "--batch-size", BATCH_SIZE, "--seed", seed, "--quiet", *flags]
    started = time.perf_counter()
    subprocess.run([str(part) for part in command], check=True)
    seconds = time.perf_counter() - started
    rows = np.genfromtxt(results / "best_config/train_results.csv", delimiter=",", names=True)
    return seconds, float(np.max(rows["reward"]))


def whole_search(seeds: int, epochs: int) -> dict[str, Any]:
    """Searches of the conv example on 20,000 sequences: seconds and best rewards by the way of the steps."""
    ways = {"packed": ["--pack", "8"], "captured": [], "plain": ["--with", "capture=false"]}
    raw, rng = load_script(EXAMPLES / "conv_seq_classifier/make_raw_data.py"), np.random.default_rng(0)
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        (folder / "def.py").write_text(DEFINITION)
        shutil.copy(EXAMPLES / "conv_seq_classifier/conv_model.py", folder)
        for name, count in (("train", 20_000), ("valid", 2_000)):
            sequences, labels = zip(*raw.make_records(count, rng), strict=True)
            letters = np.frombuffer("".join(sequences).encode(), np.uint8).reshape(count, 1, -1)
            x = (letters == np.frombuffer(b"ACGT", np.uint8)[:, None]).astype(np.float32)
            np.savez(folder / f"{name}.npz", x=x, y=np.array(labels))
        for seed in range(seeds):
            for way, flags in ways.items():
                found[way].append(search(folder, folder / f"{way}_{seed}", flags, seed, epochs))
                print(way, found[way][-1], file=sys.stderr, flush=True)
    return {
        way: {"seconds": [each for each, _ in pairs], "rewards": [each for _, each in pairs]}
        for way, pairs in found.items()
    }


def main() -> int:
    parser = make_parser(__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="[%(default)s]")
    parser.add_argument("--epochs", type=int, default=10, help="of a training [%(default)s]")
    parser.add_argument("--seeds", type=int, default=1, help="of the searches [%(default)s]")
    parser.add_argument("--search-epochs", type=int, default=27, help="R of the searches [%(default)s]")
    args = parser.parse_args()
    if choose_device(args.cpu).type != "cuda":
        print("skipped: there is no GPU")
        return 0
    torch.set_num_threads(args.threads)
    parts: dict[str, Callable[[], Any]] = {
        "agreement": agreement,
        "evaluations": evaluations,
        "fallbacks": fallbacks,
        "metrics": metrics_of_training,
        "repeats": repeats,
        "steps": lambda: steps(args.rounds, args.epochs),
        "packed": lambda: script("packed_trials.py", "--rounds", "2"),
        "search": lambda: whole_search(args.seeds, args.search_epochs),
    }
    document: dict[str, Any] = {"setting": setting(choose_device(args.cpu))}
    for name, measured in parts.items():
        started = time.perf_counter()
        try:
            document[name] = measured()
        except Exception as error:
            document[name] = {"failed": f"{type(error).__name__}: {error}"}
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
        print(json.dumps(document[name])[:3000], file=sys.stderr, flush=True)
    report(
        document,
        [table(["part", "found"], [[k, json.dumps(v)[:300]] for k, v in document.items()])],
        args.json,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
