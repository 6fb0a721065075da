"""A def.py is loaded by path, held against its contract, and its errors are told with their place."""

import pickle
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import TOY

from base_model import BaseModel
from batch_generator import MatrixBatchGenerator
from helixband.definition import Definition, load_definition
from helixband.errors import DataError, DefinitionError, HelixbandError, TrainingError, UsageError

ALL = dict.fromkeys(
    ["get_train_generator", "get_val_generator", "get_test_generator", "get_pred_generator", "get_config"], ""
)
LINE = TOY.count("\n") + 1
"""The line of the first one that a test appends."""

Load = Callable[..., Definition]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load the toy definition with more text at its end."""

    def load(extra: str = "", seed: int = 0) -> Definition:
        path = tmp_path / "def.py"
        path.write_text(TOY + extra)
        return load_definition(path, seed)

    return load


def faults(definition: Definition, needed: Iterable[str] = ALL) -> list[str]:
    """The faults that a check lists."""
    with pytest.raises(DefinitionError) as caught:
        definition.check(dict.fromkeys(needed, ""))
    first, *listed = str(caught.value).split("\n  - ")
    assert first == f"{definition.path} does not keep the contract of a definition:"
    return listed


# Loading.


def test_a_definition_is_a_module_of_its_own_name(load: Load) -> None:
    definition = load()
    other = load("\n# other\n")

    assert sys.modules[definition.module.__name__] is definition.module
    assert definition.module.__name__.startswith("helixband.definition.def_0_")
    assert definition.module.__name__ != other.module.__name__
    assert issubclass(definition.module.Model, BaseModel)
    assert pickle.loads(pickle.dumps(definition.module.Model)) is definition.module.Model


def test_a_name_without_the_suffix_py_is_fine(tmp_path: Path) -> None:
    (tmp_path / "experiment").write_text(TOY)

    load_definition(tmp_path / "experiment").check(ALL)


def test_a_definition_that_draws_as_it_is_loaded_draws_the_same_under_the_same_seed(load: Load) -> None:
    draws = "\nDRAWN = random.random(), np.random.random(), torch.rand(1).item()\n"

    assert load(draws, seed=1).module.DRAWN == load(draws, seed=1).module.DRAWN
    assert load(draws, seed=1).module.DRAWN != load(draws, seed=2).module.DRAWN


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"cannot read the definition .*/no.py: No such file.*--model"):
        load_definition(tmp_path / "no.py")


def test_a_syntax_error_is_told_with_file_and_line(load: Load, tmp_path: Path) -> None:
    with pytest.raises(DefinitionError) as caught:
        load("def f(:\n    pass\n")

    assert str(caught.value) == f"{tmp_path}/def.py, line {LINE}: invalid syntax\n    def f(:"


def test_a_syntax_error_of_a_helper_is_told_with_the_file_of_the_helper(load: Load, tmp_path: Path) -> None:
    (tmp_path / "broken_helper.py").write_text("x = = 1\n")

    with pytest.raises(DefinitionError) as caught:
        load("import broken_helper\n")

    assert str(caught.value) == f"{tmp_path}/broken_helper.py, line 1: invalid syntax\n    x = = 1"


def test_a_file_that_is_no_python_is_told(tmp_path: Path) -> None:
    (tmp_path / "def.py").write_bytes(b"PK\x03\x04\x00\x00\xff")

    with pytest.raises(DefinitionError, match=r"def\.py.*(null bytes|Non-UTF-8)"):
        load_definition(tmp_path / "def.py")


def test_what_is_raised_as_it_is_loaded_is_told_from_its_first_line_on(load: Load, tmp_path: Path) -> None:
    with pytest.raises(DefinitionError) as caught:
        load("WINDOW = int('wide')\n")

    told = str(caught.value).splitlines()
    assert told[:3] == [
        f"{tmp_path}/def.py raised as it was loaded:",
        "Traceback (most recent call last):",
        f'  File "{tmp_path}/def.py", line {LINE}, in <module>',
    ]
    assert told[-1] == "ValueError: invalid literal for int() with base 10: 'wide'"


def test_a_definition_that_exits_as_it_is_loaded_is_told(load: Load) -> None:
    with pytest.raises(DefinitionError, match=r"raised as it was loaded:[^$]*SystemExit: 0"):
        load("raise SystemExit(0)\n")


def test_a_missing_environment_variable_is_told_without_a_traceback(load: Load, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load("WINDOW = env('HELIXBAND_NOT_SET', type=int)\n")

    assert str(caught.value) == (
        f"{tmp_path}/def.py, line {LINE}: the environment variable HELIXBAND_NOT_SET is not set and has no "
        "default: set it"
    )


# The contract.


def test_a_whole_definition_passes(load: Load) -> None:
    load().check(ALL)


def test_functions_that_the_run_does_not_call_may_be_missing(load: Load) -> None:
    definition = load("del get_test_generator, get_pred_generator\n")
    definition.check({"get_train_generator": "--hyper", "get_config": "--hyper"})


def test_a_missing_function_is_told_with_what_needs_it(load: Load) -> None:
    with pytest.raises(DefinitionError) as caught:
        load("get_cofnig = get_config\ndel get_config\n").check({"get_config": "--hyper"})
    assert str(caught.value).endswith(
        "\n  - get_config() is missing; --hyper needs it; get_cofnig: did you mean get_config?"
    )


def test_several_faults_are_told_at_once_in_the_order_of_the_contract(load: Load) -> None:
    definition = load("""
del get_train_generator, get_config
get_tset_generator = get_test_generator
del get_test_generator

def get_pred_generator():
    pass

def get_valid_generator(data_dir):
    pass

del get_val_generator

class Model(Model):
    def eval_metrics(self, y_pred):
        return {}
""")

    assert faults(definition, ["get_train_generator", "get_test_generator", "get_config"]) == [
        "get_train_generator(data_dir, batch_size) is missing",
        "get_test_generator(data_dir) is missing; get_tset_generator: did you mean get_test_generator?",
        "get_config() is missing",
        "get_valid_generator: did you mean get_val_generator?",
        "get_pred_generator takes (); it is called as get_pred_generator(pred_path)",
        "Model.eval_metrics takes (self, y_pred); it is called as Model.eval_metrics(self, y_true, y_pred)",
    ]


@pytest.mark.parametrize(
    ("extra", "fault"),
    [
        (
            "def get_train_generator(data_dir): ...\n",
            "get_train_generator takes (data_dir); it is called as get_train_generator(data_dir, batch_size)",
        ),
        ("get_config = {'lr': 1}\n", "get_config is a dict; it has to be a function"),
        (
            "def save_predictions(pred_path, y_pred): ...\n",
            "save_predictions: did you mean save_prediction?",
        ),
        (
            "get_prediction_generator = list\ndel get_pred_generator\n",
            "get_prediction_generator: did you mean get_pred_generator?",
        ),
        ("del Model\n", "class Model(BaseModel) is missing"),
        (
            "class MyModel(Model): ...\ndel Model\n",
            "class Model(BaseModel) is missing; MyModel: did you mean Model?",
        ),
        (
            "class Model(nn.Module): ...\n",
            "class Model derives from Module; it has to derive from base_model.BaseModel",
        ),
        ("Model = 3\n", "Model is 3; it has to be a class derived from base_model.BaseModel"),
        ("class Model(BaseModel): ...\n", "Model.init_model(self) is missing"),
        (
            "class Model(Model):\n    def init_model(self, config): ...\n",
            "Model.init_model takes (self, config); it is called as Model.init_model(self)",
        ),
        (
            "class Model(Model):\n    def eval_metric(self, y_true, y_pred): ...\n",
            "Model.eval_metric: did you mean eval_metrics?",
        ),
        (
            "class Model(Model):\n    def get_hyperband_rewards(self, result): ...\n",
            "Model.get_hyperband_rewards: did you mean get_hyperband_reward?",
        ),
        *[
            (f"def {name}(pred_path, y_pred): ...\n", f"{name}: did you mean save_prediction?")
            for name in ("save_preds", "save_pred", "savePrediction", "write_preds")
        ],
        *[
            (f"class Model(Model):\n    {name} = ['a']\n", f"Model.{name}: did you mean {attribute}?")
            for name, attribute in [
                ("class_name", "class_names"),
                ("classNames", "class_names"),
                ("label_name", "label_names"),
                ("labels_names", "label_names"),
                ("default_criteria", "default_criterion"),
            ]
        ],
        (
            "class Model(Model):\n    label_names = ['a']\n",
            "Model.label_names: nothing of this kind of model reads it; did you mean class_names?",
        ),
        *[
            (f"class Model(Model):\n    def {name}(self, *args): return super().{name}(*args)\n", fault)
            for name, fault in [
                ("fit_batch", "Model.fit_batch: did you mean train_step?"),
                ("training_step", "Model.training_step: did you mean train_step?"),
                ("trainStep", "Model.trainStep: did you mean train_step?"),
                ("train_steps", "Model.train_steps: did you mean train_step?"),
                ("evaluate_batch", "Model.evaluate_batch: did you mean eval_step?"),
                ("validation_step", "Model.validation_step: did you mean eval_step?"),
                ("predict_batch", "Model.predict_batch: did you mean predict_step?"),
                ("foward", "Model.foward: did you mean forward?"),
                ("computeLoss", "Model.computeLoss: did you mean compute_loss?"),
                ("split_outputs", "Model.split_outputs: did you mean split_output?"),
                ("val_metrics", "Model.val_metrics: did you mean eval_metrics?"),
                ("train_metric", "Model.train_metric: did you mean train_metrics?"),
                ("get_reward", "Model.get_reward: did you mean get_hyperband_reward?"),
                ("check_label", "Model.check_label: did you mean check_labels?"),
                ("evaluation_metrics", "Model.evaluation_metrics: did you mean eval_metrics?"),
                ("loss_fn", "Model.loss_fn: did you mean compute_loss?"),
                ("compute_losses", "Model.compute_losses: did you mean compute_loss?"),
                ("get_rewards", "Model.get_rewards: did you mean get_hyperband_reward?"),
                ("evaluation_step", "Model.evaluation_step: did you mean eval_step?"),
                ("evalStep", "Model.evalStep: did you mean eval_step?"),
                ("prediction_step", "Model.prediction_step: did you mean predict_step?"),
                ("training_metric", "Model.training_metric: did you mean train_metrics?"),
                (
                    "configure_optimizers",
                    "Model.configure_optimizers: no run calls it; pass the optimizer and the scheduler to "
                    "super().init_model in init_model",
                ),
                (
                    "backward",
                    "Model.backward: no run calls it; a train_step of your own calls self.backward(loss) and "
                    "self.optimizer_step(); on_before_step(self) may change the gradients before each update",
                ),
                (
                    "save",
                    "Model.save: no run calls it; a run keeps the states of a training itself, and evaluates "
                    "the test set with eval_step and eval_metrics",
                ),
                (
                    "on_train_epoch_end",
                    "Model.on_train_epoch_end: no run calls it; train_step and eval_step get each batch, "
                    "eval_metrics and get_hyperband_reward each epoch",
                ),
            ]
        ],
        (
            "class Model(Model):\n    def train_step(self, batch): ...\n",
            "Model.train_step takes (self, batch); it is called as Model.train_step(self, x, y)",
        ),
        (
            "class Model(Model):\n    def optimizer_step(self, closure): ...\n"
            "    def train_step(self, x, y): self.optimizer_step()\n",
            "Model.optimizer_step takes (self, closure); it is called as Model.optimizer_step(self)",
        ),
        (
            "class Model(Model):\n    def backward(self, loss): loss.backward()\n",
            "Model.backward: no run calls it; a train_step of your own calls self.backward(loss) and "
            "self.optimizer_step(); on_before_step(self) may change the gradients before each update",
        ),
        (
            "class Model(Model):\n    def evaluate(self): ...\n",
            "Model.evaluate takes (self); it is called as Model.evaluate(self, generator)",
        ),
    ],
)
def test_a_fault_is_told_with_what_to_do(load: Load, extra: str, fault: str) -> None:
    definition = load(extra)
    needed = [name for name in ALL if hasattr(definition.module, name)]

    assert faults(definition, needed) == [fault]


@pytest.mark.parametrize(
    "extra",
    [
        "def get_train_generator(data_dir, batch_size, shuffle=True): ...\n",
        "def get_train_generator(folder, size): ...\n",
        "def get_train_generator(*args, **kwargs): ...\n",
        "get_config = dict\n",
        "class Model(Model):\n    def configure_optimizers(self): ...\n"
        "    def init_model(self): self.configure_optimizers()\n",
        "def get_training_generator(data_dir): ...\ndef get_configs(): ...\n",
        "def get_trained_weights(): ...\n",
        "class Model(Model):\n    def metrics(self, y_true, y_pred): ...\n",
        "class Model(Model):\n    def optimizer_step(self, name=None): super().optimizer_step(name)\n"
        "    def train_step(self, x, y): self.optimizer_step()\n",
        "class Model(Model):\n    def fit(self, *arguments): return super().fit(*arguments)\n",
        "class Model(Model):\n    @staticmethod\n    def eval_metrics(y_true, y_pred): ...\n",
        "class Model(Model):\n    def train_step_a(self, x, y): ...\n"
        "    def train_step(self, x, y): return self.train_step_a(x, y)\n",
        "class Model(Model):\n    def fit_batch(self, x): ...\n"
        "    def eval_step(self, x, y): self.fit_batch(x)\n",
        "class Model(Model):\n    def forward2(self, x): ...\n    def forward(self, x): "
        "return getattr(self, 'forward2')(x)\n",
        "class Model(Model):\n    def _train_step(self, x, y): ...\n    def log_batch(self): ...\n"
        "    def reset(self): ...\n    def encode(self, x): ...\n    def loss(self): ...\n",
        "def get_test_table(): ...\ndef get_train_paths(): ...\ndef get_model(): ...\n",
    ],
)
def test_what_can_be_called_is_no_fault(load: Load, extra: str) -> None:
    load(extra).check(ALL)


def test_methods_of_a_class_beside_the_definition_are_held_to_the_contract(
    load: Load, tmp_path: Path
) -> None:
    (tmp_path / "parts_beside.py").write_text("""
class Part:
    def fit_batch(self, xy): ...
    def train_step_a(self, x): ...
    def train_metrics(self, x): return self.train_step_a(x)
""")
    assert faults(load("from parts_beside import Part\n\nclass Model(Part, Model): ...\n")) == [
        "Model.train_metrics takes (self, x); it is called as Model.train_metrics(self, y_true, y_pred)",
        "Model.fit_batch: did you mean train_step?",
    ]


# The data.


def test_our_generators_are_made_once_for_all_trials(load: Load) -> None:
    definition = load()

    assert definition.training_data("d", 20)[0] is definition.training_data("d", 20)[0]
    assert definition.training_data("d", 30)[0] is not definition.training_data("d", 20)[0]


def test_generators_that_may_hold_state_are_made_anew(load: Load) -> None:
    definition = load("\ndef get_val_generator(data_dir):\n    return [table(1, 20)]\n")

    assert definition.training_data("d", 20)[1] is not definition.training_data("d", 20)[1]


def test_the_functions_of_a_definition_see_the_same_random_numbers_so_that_splits_agree(load: Load) -> None:
    definition = load("""
def part(chosen):
    rows = np.random.permutation(80)
    return MatrixBatchGenerator(*(array[rows[chosen]] for array in table(0, 80)))

def get_train_generator(data_dir, batch_size):
    return part(slice(60))

def get_val_generator(data_dir):
    return part(slice(60, 80))
""")
    np.random.seed(5)  # of no effect
    train, val = definition.training_data("d", 20)
    rows = {tuple(row) for generator in (train, val) for x, _ in generator for row in x}

    assert len(rows) == 80


DRAWN = """
def drawn(y=None):
    return MatrixBatchGenerator(np.arange(25), y, 10, shuffle=True, drop_last=True)
"""
PAIR = "drawn(np.arange(25)), drawn(np.arange(25))"


def examples(generator: Iterable[Any]) -> list[int]:
    return [int(x) for batch in generator for x in (batch[0] if isinstance(batch, tuple) else batch)]


@pytest.mark.parametrize(
    "validation",
    [
        "def get_val_generator(data_dir):\n    return drawn(np.arange(25))\n",
        f"def get_train_generator(data_dir, batch_size):\n    return {PAIR}\n",
    ],
    ids=["a function", "a pair"],
)
def test_validation_test_and_prediction_are_read_whole_and_in_order(load: Load, validation: str) -> None:
    definition = load(f"""{DRAWN}
def get_train_generator(data_dir, batch_size):
    return drawn(np.arange(25))

def get_test_generator(data_dir):
    return drawn(np.arange(25))

def get_pred_generator(pred_path):
    return drawn()

{validation}""")
    train, val = definition.training_data("d", 20)
    for generator in (val, definition.test_data("d"), definition.prediction_data("x")):
        assert examples(generator) == examples(generator) == list(range(25))
    assert len(examples(train)) == 20 and examples(train) != examples(train)


def test_the_sets_of_a_mixture_that_is_tested_come_one_after_the_other(load: Load) -> None:
    definition = load("""
from batch_generator import MixedBatchGenerator

def get_test_generator(data_dir):
    sets = [MatrixBatchGenerator(np.arange(9), np.zeros(9), shuffle=True) for _ in range(2)]
    return MixedBatchGenerator(sets, [0.9, 0.1], batch_size=4)
""")
    assert examples(definition.test_data("d")) == [*range(9), *range(9)]


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ("None", "returned None (NoneType); it has to return something that iterates over batches"),
        ("7", "returned 7 (int); it has to return something that iterates over batches"),
        ("(batch for batch in [1])", "returned a generator, which can be read once"),
        ("iter([1])", "returned a list_iterator, which can be read once"),
        ("zip([1], [2])", "returned a zip, which can be read once"),
    ],
)
def test_what_is_no_generator_is_refused(load: Load, returned: str, told: str) -> None:
    definition = load(f"\ndef get_test_generator(data_dir):\n    return {returned}\n")

    with pytest.raises(DefinitionError) as caught:
        definition.test_data("d")
    assert str(caught.value).startswith(f"{definition.path}: get_test_generator {told}")


SPLIT = "MatrixBatchGenerator(*table(0, 60)), MatrixBatchGenerator(*table(1, 20)), "


def test_a_list_of_two_generators_is_that_of_training_and_that_of_validation(load: Load) -> None:
    definition = load(f"\ndef get_train_generator(data_dir, batch_size):\n    return [{SPLIT}]\n")

    assert [len(next(iter(made))[0]) for made in definition.training_data("d", 20)] == [60, 20]


def test_a_list_of_two_batches_is_a_generator(load: Load) -> None:
    batches = "[table(0, 30), table(1, 30)]"
    definition = load(f"\ndef get_train_generator(data_dir, batch_size):\n    return {batches}\n")

    assert [len(list(made)) for made in definition.training_data("d", 20)] == [2, 1]


@pytest.mark.parametrize("more", ["", "\ndel get_val_generator\n"])
@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (f"{SPLIT} []", "3 things in a tuple"),
        (f"[{SPLIT} None]", "3 things in a list"),
        ("MatrixBatchGenerator(*table(0, 60)),", "1 thing in a tuple"),
        ("dict(zip(['train', 'val'], [" + SPLIT + "]))", "2 things in a dict"),
    ],
)
def test_another_number_of_generators_than_two_is_told_with_what_to_return(
    load: Load, returned: str, told: str, more: str
) -> None:
    definition = load(f"\ndef get_train_generator(data_dir, batch_size):\n    return {returned}\n{more}")

    with pytest.raises(DefinitionError) as caught:
        definition.training_data("d", 20)
    assert str(caught.value) == (
        f"{definition.path}: get_train_generator returned {told}; return (train, val), for example "
        "`train, val, test = …` and `return train, val`"
    )


def test_several_generators_for_one_set_are_told(load: Load) -> None:
    definition = load(f"""
def get_val_generator(data_dir):
    return {SPLIT}

def get_test_generator(data_dir):
    return {SPLIT} None

def get_pred_generator(pred_path):
    return [{SPLIT}]
""")
    wants = "things in a {}; return one generator"
    for function, told in (
        (lambda: definition.training_data("d", 20), f"get_val_generator returned 2 {wants.format('tuple')}"),
        (lambda: definition.test_data("d"), f"get_test_generator returned 3 {wants.format('tuple')}"),
        (lambda: definition.prediction_data("x"), f"get_pred_generator returned 2 {wants.format('list')}"),
    ):
        with pytest.raises(DefinitionError, match=f": {told}"):
            function()


def test_validation_data_of_a_pair_that_are_none_are_told_with_the_function_that_made_them(
    load: Load,
) -> None:
    definition = load("\ndef get_train_generator(data_dir, batch_size):\n    return [table(0, 9)], None\n")

    with pytest.raises(
        DefinitionError, match=r"get_train_generator, as the val of \(train, val\), returned None"
    ):
        definition.training_data("d", 20)


@pytest.mark.parametrize(
    ("returned", "kind"),
    [
        ("[]", "list"),
        ("torch.utils.data.DataLoader(range(5), batch_size=8, drop_last=True)", "DataLoader"),
    ],
)
def test_a_generator_without_a_batch_is_refused_with_the_function_that_made_it(
    load: Load, returned: str, kind: str
) -> None:
    definition = load(f"\ndef get_val_generator(data_dir):\n    return {returned}\n")

    with pytest.raises(DataError) as caught:
        definition.training_data("d", 20)
    assert str(caught.value) == (
        f"{definition.path}: get_val_generator returned a {kind} without a batch; the set needs one example "
        "at least"
    )


def test_a_part_of_a_split_that_drop_last_leaves_no_batch_of_is_told(load: Load, tmp_path: Path) -> None:
    (tmp_path / "a.fa").write_text("".join(f">r{number}\nACGT\n" for number in range(110)))
    definition = load(f"""
from batch_generator import FastaBatchGenerator

def get_train_generator(data_dir, batch_size):
    whole = FastaBatchGenerator({str(tmp_path / "a.fa")!r}, np.arange(110), batch_size, True, drop_last=True)
    return whole.split("ratio")[:2]
""")
    with pytest.raises(DataError) as caught:
        definition.training_data("d", 100)
    assert str(caught.value) == (
        f"{definition.path}: get_train_generator returned a FastaBatchGenerator without a batch; "
        "drop_last=True leaves out a last batch of fewer than batch_size examples; batch_size is 100, and "
        "there are 88 examples: give a batch_size (--batch-size) up to that, or leave drop_last out"
    )
    assert len(definition.training_data("d", 88)[0]) == 1  # type: ignore[arg-type]


def test_no_validation_data_is_refused_with_the_likely_name(load: Load) -> None:
    definition = load("\nget_dev_generator = get_val_generator\ndel get_val_generator\n")

    with pytest.raises(DefinitionError) as caught:
        definition.training_data("d", 20)
    assert str(caught.value) == (
        f"{definition.path}: get_train_generator returned one generator, and there is no get_val_generator "
        "(get_dev_generator: did you mean get_val_generator?); return (train, val), or write one"
    )


# How errors are told.

DEEP = """
def read(path):
    return [open(name) for name in [path]]

def get_train_generator(data_dir, batch_size):
    return read("nowhere")
"""


def raised(function: Callable[..., object], *arguments: object) -> Exception:
    with pytest.raises(Exception) as caught:
        function(*arguments)
    return caught.value


def test_an_error_of_a_function_is_told_from_the_definition_on(load: Load) -> None:
    definition = load(DEEP)

    told = definition.explain(raised(definition.training_data, "d", 20))

    assert isinstance(told, HelixbandError) and told.exit_code == 1
    lines = str(told).splitlines()
    assert lines[:3] == [
        f"{definition.path} raised:",
        "Traceback (most recent call last):",
        f'  File "{definition.path}", line {LINE + 5}, in get_train_generator',
    ]
    assert lines[-1] == "FileNotFoundError: [Errno 2] No such file or directory: 'nowhere'"
    assert "helixband" not in str(told).replace(str(definition.path), "")


def test_an_error_of_ours_is_told_with_the_line_that_led_to_it(load: Load) -> None:
    definition = load("""
def batches():
    return MatrixBatchGenerator([[1.0], [2.0]], [1.0])

def get_train_generator(data_dir, batch_size):
    return batches()
""")
    error = raised(definition.training_data, "d", 20)

    told = definition.explain(error)

    assert type(told) is DataError
    place = f"{definition.path}, line {LINE + 2}, in get_train_generator > batches: "
    assert str(told) == place + str(error)


def test_an_error_of_a_helper_counts_as_one_of_the_definition(load: Load, tmp_path: Path) -> None:
    (tmp_path / "raising_helper.py").write_text("def get_config():\n    return [][0]\n")
    definition = load("from raising_helper import get_config\n")

    told = str(definition.explain(raised(definition.module.get_config)))

    assert f'File "{tmp_path}/raising_helper.py", line 2, in get_config' in told


def test_a_wrong_definition_without_a_line_is_told_with_its_path(load: Load) -> None:
    definition = load()

    told = definition.explain(DefinitionError("get_hyperband_reward is None"))

    assert str(told) == f"{definition.path}: get_hyperband_reward is None"
    assert str(definition.explain(told)) == str(told)


def test_an_error_elsewhere_is_left_as_it_is(load: Load) -> None:
    definition = load()

    for error in (ValueError("ours"), TrainingError("the loss is nan"), raised(MatrixBatchGenerator, [])):
        assert definition.explain(error) is error


def test_our_modules_beside_a_definition_are_not_taken_for_its_own(load: Load, tmp_path: Path) -> None:
    """A def.py may lie in a checkout of Helixband, which may hold a virtual environment."""
    definition = load()
    code = compile("raise ValueError('ours')", str(tmp_path / "base_model.py"), "exec")
    installed = compile("raise ValueError('theirs')", str(tmp_path / "venv/site-packages/x.py"), "exec")

    ours = raised(exec, code, {"__name__": "base_model"})
    theirs = raised(exec, installed, {"__name__": "x"})

    assert definition.explain(ours) is ours
    assert definition.explain(theirs) is theirs


def test_what_torch_raises_in_the_network_of_a_definition_is_told_by_its_note(load: Load) -> None:
    definition = load("""
class Model(BaseModel):
    def init_model(self):
        super().init_model(nn.Linear(5, 1), nn.MSELoss())
""")
    model = definition.new_model({})

    told = str(definition.explain(raised(model.predict, np.zeros((4, 3), np.float32))))

    assert told.startswith(
        f"{definition.path} raised:\nRuntimeError: mat1 and mat2 shapes cannot be multiplied"
    )
    assert "in the forward pass of Linear; x has the shape (4, 3), torch.float32" in told
