"""The test set evaluated by several workers: the results of one process, whatever becomes of a worker."""

import pytest
from conftest import Project, Run

from helixband.training import portions

pytestmark = pytest.mark.usefixtures("small_portions")

BATCHES = "\ndef get_test_generator(d):\n    return MatrixBatchGenerator(*table(2, 150), 10)\n"
ONE_BATCH = """
narrow = table

def table(seed, rows):
    x, y = narrow(seed, rows)
    return np.tile(x, 1000), y  # 12,000 bytes a row, of which a piece has 21 rows

def get_test_generator(d):
    return MatrixBatchGenerator(*table(2, 150))

class Model(Model):
    def forward(self, x):
        return super().forward(x[:, :3])
"""
LOADER = """
from torch.utils.data import DataLoader, TensorDataset

def get_test_generator(d):
    return DataLoader(TensorDataset(*map(torch.from_numpy, table(2, 150))), 10)
"""
LIST = "\ndef get_test_generator(d):\n    x, y = table(2, 150)\n"
LIST += "    return [(x[i : i + 10], y[i : i + 10]) for i in range(0, 150, 10)]\n"
ITERABLE = LIST.replace("return [", "return Stream([") + "\nclass Stream:\n"
ITERABLE = ITERABLE.replace("150, 10)]\n", "150, 10)])\n")
ITERABLE += "    def __init__(self, batches):\n        self.batches = batches\n"
ITERABLE += "    def __iter__(self):\n        return iter(self.batches)\n"

RECORDS = """
from batch_generator import FastaBatchGenerator
from helixband.networks.one_hot import OneHot

def records(d, batch_size):
    return FastaBatchGenerator(f"{d}/records.fa", float, batch_size, unequal="bucket")

def get_train_generator(d, b):
    return records(d, b), records(d, b)

def get_test_generator(d):
    return records(d, 10)

class Model(Model):
    def init_model(self):
        features = [OneHot(), nn.Conv1d(4, 2, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten()]
        network = nn.Sequential(*features, nn.Dropout(0.5), nn.Linear(2, 1))
        BaseModel.init_model(self, network, nn.MSELoss(), optim.Adam(network.parameters(), 0.01))
    def compute_loss(self, y_pred_loss, y):
        return super().compute_loss(y_pred_loss.squeeze(-1), y.float())
"""

WHOLE_SET = """
class Model(Model):
    def compute_loss(self, y_pred_loss, y):
        return ((y_pred_loss.squeeze(-1) - y) ** 2).mean().sqrt()
"""
NAMED = """
class Model(Model):
    def compute_loss(self, y_pred_loss, y):
        error = y_pred_loss.squeeze(-1) - y
        return {"square": (error ** 2).mean(), "absolute": (error.abs().sum(), len(y))}
"""
NESTED = """
def get_test_generator(d):
    x, y = table(2, 150)
    return MatrixBatchGenerator({"a": x}, {"first": y, "second": {"b": y, "c": 2 * y}}, 10)

def get_train_generator(d, b):
    x, y = table(0, 60)
    made = MatrixBatchGenerator({"a": x}, {"first": y, "second": {"b": y, "c": 2 * y}}, 10)
    return made, made

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(3, 1)
    def forward(self, x):
        out = self.line(x["a"]).squeeze(-1).bfloat16()
        return {"y_pred": {"first": out, "second": {"b": out, "c": out}}}

class Model(BaseModel):
    def init_model(self):
        network = Net()
        super().init_model(network, self.loss, optim.Adam(network.parameters(), 0.01))
    def loss(self, y_pred, y_true):
        return (y_pred["first"].float() - y_true["first"]).abs().max()
    def eval_metrics(self, y_true, y_pred):
        return {"mean": float(np.mean(y_true["second"]["c"] - y_pred["second"]["c"]))}
    def get_hyperband_reward(self, result):
        return -result["val_loss"]
"""


@pytest.fixture(autouse=True)
def records(project: Project) -> None:
    texts = (f">{number}\n{'ACGTA' * (1 + number * 7 % 6)}{'C' * (number % 5)}\n" for number in range(60))
    (project.data / "records.fa").write_text("".join(texts))


@pytest.fixture
def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portions, "BATCHES", 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as the number of threads sets the last bits


def evaluate(project: Project, name: str, *flags: str) -> Run:
    result = str(project.path / name)
    return project.run("--epoch", "1", "--batch-size", "10", "--eval", "--result", result, *flags)


def results(project: Project, name: str) -> dict[str, bytes]:
    folder = project.path / name
    assert not (folder / "test_result.part").exists()
    names = ("test_result.json", "baselines.json", "test_predictions.npz")
    return {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (BATCHES, ()),
        (BATCHES, ("--mc-dropout", "3")),
        (ONE_BATCH + NAMED, ("--mc-dropout", "2")),
        (BATCHES + NAMED, ("--with", "limit_test=13")),
        (LOADER, ()),
        (RECORDS, ()),
        (RECORDS, ("--mc-dropout", "2")),
        (LIST + WHOLE_SET, ()),
        (NESTED, ()),
    ],
)
def test_two_workers_come_to_what_one_process_comes_to(
    project: Project, words: str, flags: tuple[str, ...]
) -> None:
    project.define(words)
    alone = evaluate(project, "alone", *flags)
    spread = evaluate(project, "spread", *flags, "--workers", "2")
    assert (alone.code, spread.code) == (0, 0), alone.err + spread.err
    assert "2 chunks of the test set at a time" in spread.out, spread.out
    assert results(project, "spread") == results(project, "alone")


def test_the_first_batches_of_records_of_several_lengths_are_evaluated_in_one_process(
    project: Project,
) -> None:
    project.define(RECORDS)
    flags = ("--with", "limit_test=5")
    alone, spread = evaluate(project, "alone", *flags), evaluate(project, "spread", *flags, "--workers", "2")
    assert (alone.code, spread.code) == (0, 0), alone.err + spread.err
    assert "test: in this process alone: limit_test is for the first records" in spread.out
    assert results(project, "spread") == results(project, "alone")


def test_chunks_of_a_worker_that_is_killed_are_evaluated_again(project: Project) -> None:
    killed = project.data / "killed"
    project.define(
        BATCHES
        + f"""
import os, sys
from pathlib import Path

class Model(Model):
    def compute_loss(self, y_pred_loss, y):
        if "helixband.search.executors.worker" in sys.orig_argv and not os.path.exists({str(killed)!r}):
            Path({str(killed)!r}).touch()
            os.kill(os.getpid(), 9)
        return super().compute_loss(y_pred_loss, y)
"""
    )
    assert evaluate(project, "alone").code == 0
    spread = evaluate(project, "spread", "--workers", "2")
    assert spread.code == 0, spread.err
    assert killed.exists()
    assert "the worker of the batches " in spread.out and "they are evaluated again" in spread.out
    assert results(project, "spread") == results(project, "alone")


def test_workers_of_a_dask_cluster_come_to_what_one_process_comes_to(project: Project) -> None:
    distributed = pytest.importorskip("distributed")
    project.define(BATCHES)
    assert evaluate(project, "alone").code == 0
    with distributed.LocalCluster(2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        spread = evaluate(project, "spread", "--cluster", cluster.scheduler_address)
    assert spread.code == 0, spread.err
    assert "connecting to tcp://" in spread.out
    assert results(project, "spread") == results(project, "alone")


HOLDS = """
class Model(Model):
    def eval_step(self, x, y):
        self.seen = getattr(self, "seen", 0) + len(y)
        return super().eval_step(x, y)
    def eval_metrics(self, y_true, y_pred):
        return {"seen": self.seen}
"""
DRAWS = """
class Model(Model):
    def compute_loss(self, y_pred_loss, y):
        return super().compute_loss(y_pred_loss, y + torch.rand(1))
"""


BY_NUMBER = """
SEEN = [0]

class Batches:
    seen, last = 0, 0
    def __init__(self):
        self.numbers, (self.x, self.y) = np.random.RandomState(1), table(2, 150)
    def __len__(self):
        return 15
    def __getitem__(self, n):
        if n >= 15:
            raise IndexError
        x, y = self.x[10 * n : 10 * n + 10], self.y[10 * n : 10 * n + 10]
        WORDS
        return x, y

def get_test_generator(d):
    return Batches()
"""


def set_of(words: str) -> str:
    """A definition whose test set has batches by number, each changed by a line of code."""
    return BY_NUMBER.replace("WORDS", words)


COUNTS_IN_SPLIT = """
class Model(Model):
    seen = 0
    def split_batch(self, batch):
        self.seen += 1
        return batch[0] + np.float32(self.seen), batch[1]
"""
NOISE = """
from torch.utils.data import DataLoader, Dataset

class Noisy(Dataset):
    def __len__(self):
        return 150
    def __getitem__(self, n):
        return np.float32(np.random.normal(size=3)), np.float32(n)

def get_test_generator(d):
    return DataLoader(Noisy(), 10)
"""


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (set_of("x = x + np.float32(np.random.random())"), "reading the test set draws random numbers"),
        (NOISE, "reading the test set draws random numbers"),
        (
            set_of("x = x + np.float32(self.numbers.random())"),
            "the test set holds a random generator from which it draws",
        ),
        (
            set_of("self.seen += 1; x = x + np.float32(self.seen)"),
            "the test set.seen changes as the test set is read",
        ),
        (
            set_of("SEEN[0] += 1; x = x + np.float32(SEEN[0])"),
            "SEEN of def.py changes as the test set is read",
        ),
        (
            set_of("self.last, x = x, x + self.last"),
            "the test set.last changes as the test set is read",
        ),
        (
            BATCHES + COUNTS_IN_SPLIT,
            "split_batch changes what the model or the definition holds",
        ),
        (ITERABLE, "a Stream is read from its beginning alone"),
        (BATCHES + HOLDS, "its evaluation changes what the model or the definition holds"),
        (BATCHES + DRAWS, "its evaluation draws random numbers"),
    ],
)
def test_what_cannot_be_evaluated_apart_is_evaluated_in_one_process_which_says_so(
    project: Project, words: str, why: str
) -> None:
    project.define(words)
    alone = evaluate(project, "alone")
    spread = evaluate(project, "spread", "--workers", "2")
    assert (alone.code, spread.code) == (0, 0), alone.err + spread.err
    assert f"test: in this process alone: {why}" in spread.out
    assert results(project, "spread") == results(project, "alone")


def test_a_set_of_one_portion_starts_no_worker(project: Project) -> None:
    project.define()
    run = evaluate(project, "results", "--workers", "2")
    assert run.code == 0
    assert "chunks" not in run.out and "alone" not in run.out


def test_an_error_in_a_batch_is_told_with_the_chunk(project: Project) -> None:
    project.define(LIST.replace("return [", "return [(x, y[:3]) if i == 140 else "))
    run = evaluate(project, "results", "--workers", "2")
    assert run.code == 2
    assert "batches 12 to 15 of the test set" in run.err


def test_metrics_that_change_their_arrays_leave_what_is_stored_as_it_is(project: Project) -> None:
    changes = """
class Model(Model):
    def eval_metrics(self, y_true, y_pred):
        found = {"mean": float(np.mean(y_pred))}
        y_pred[:], y_true[:] = 0, 0
        return found
"""
    project.define(BATCHES + changes.replace("y_pred[:], y_true[:] = 0, 0", "pass"))
    assert evaluate(project, "alone").code == 0
    project.define(BATCHES + changes)
    assert evaluate(project, "changed").code == 0
    assert results(project, "changed") == results(project, "alone")


def test_a_metric_may_be_called_as_those_of_examples_unlike_the_training_set(project: Project) -> None:
    named = """
class Model(Model):
    def eval_metrics(self, y_true, y_pred):
        return {"unlike_others": 0.5}
"""
    project.define(BATCHES + named)
    done = evaluate(project, "alone")
    assert done.code == 0, done.err
    assert "unlike_others 0.5" in done.out
