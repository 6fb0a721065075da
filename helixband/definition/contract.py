"""The contract of a definition: the names that a run calls, and those that are taken for them."""

import ast
import difflib
import inspect
import re
from collections.abc import Collection, Iterator, Mapping
from types import FunctionType
from typing import Any

from base_model import BaseModel, ClassificationModel, MultiLabelModel, RegressionModel

FUNCTIONS = {
    "get_train_generator": ("data_dir", "batch_size"),
    "get_val_generator": ("data_dir",),
    "get_test_generator": ("data_dir",),
    "get_pred_generator": ("pred_path",),
    "get_config": (),
    "save_prediction": ("pred_path", "y_pred"),
    "predict_texts": ("predict", "texts"),
}
KINDS = {ClassificationModel: "classes", MultiLabelModel: "labels", RegressionModel: "numbers"}
"""What the labels of a kind of model are. For other kinds, the values of the labels decide."""
METHODS = {
    "init_model": ("self",),
    "train_metrics": ("self", "y_true", "y_pred"),
    "eval_metrics": ("self", "y_true", "y_pred"),
    "pictures": ("self", "x", "y_true", "y_pred"),
    "get_hyperband_reward": ("self", "result"),
    "check_labels": ("self", "y_true"),
    "forward": ("self", "x"),
    "split_output": ("self", "output"),
    "compute_loss": ("self", "y_pred_loss", "y"),
    "train_step": ("self", "x", "y"),
    "eval_step": ("self", "x", "y"),
    "predict_step": ("self", "x"),
    "other_strand": ("self", "y_pred", "turned"),
    "split_batch": ("self", "batch"),
    "prepare_batch": ("self", "x", "y"),
    "on_before_step": ("self",),
    "on_epoch_end": ("self", "row"),
    "backward": ("self", "loss"),
    "optimizer_step": ("self",),
    "fit": ("self", "train", "val", "epochs", "trial", "seed", "on_epoch"),
    "evaluate": ("self", "generator"),
    "predict": ("self", "generator"),
    "predict_mc": ("self", "generator", "samples"),
}
OTHER_NAMES = {
    "get_val_generator": {"get_valid_generator", "get_validation_generator", "get_dev_generator"},
    "get_pred_generator": {"get_predict_generator", "get_prediction_generator"},
    "get_train_generator": {"get_training_generator", "get_train_data", "get_train_loader"},
    "get_test_generator": {"get_testing_generator", "get_test_data", "get_test_loader"},
    "save_prediction": {"write_prediction", "write_predictions", "store_prediction", "output_prediction"},
    "get_config": {
        "get_configuration",
        "sample_config",
        "get_params",
        "get_hyperparameters",
        "get_hyperparams",
        "get_space",
    },
    "eval_metrics": {
        *("val_metrics", "valid_metrics", "validation_metrics", "test_metrics"),
        *("evaluation_metrics", "compute_metrics", "calc_metrics", "get_metrics"),
    },
    "init_model": {"build_model", "create_model", "make_model", "build_network"},
    "train_metrics": {"training_metrics", "fit_metrics"},
    "pictures": {"make_pictures", "get_pictures", "plot_examples", "log_images", "make_figures"},
    "check_labels": {"validate_labels", "check_targets", "check_y"},
    "forward": {"forward_pass", "run_network"},
    "get_hyperband_reward": {"get_reward", "hyperband_reward"},
    "compute_loss": {"get_loss", "calc_loss", "calculate_loss", "loss_fn", "loss_function"},
    "train_step": {"fit_batch", "train_batch", "train_on_batch", "training_step"},
    "eval_step": {"eval_batch", "evaluate_batch", "test_step", "test_batch", "val_step", "validation_step"},
    "split_batch": {"unpack_batch", "unpack", "parse_batch"},
    "prepare_batch": {"on_after_batch_transfer", "augment_batch", "preprocess_batch", "transform_batch"},
    "on_before_step": {"before_step", "on_before_optimizer_step", "on_optimizer_step", "on_step_begin"},
    "predict_step": {"forward_numpy", "predict_batch", "predict_on_batch"},
}
"""What a name of the contract was once called, and is in other packages: a run calls none of these."""
OF_STEPS = ("backward", "optimizer_step")
"""What a `train_step` of a definition's own calls."""
HOOKS = {
    "configure_optimizers": "pass the optimizer and the scheduler to super().init_model in init_model",
    "lr_scheduler_step": "scheduler_interval and scheduler_metric of super().init_model say when and by what",
    "train_dataloader": "get_train_generator(data_dir, batch_size) gives the data",
    "val_dataloader": "get_val_generator(data_dir) gives the data",
    "test_dataloader": "get_test_generator(data_dir) gives the data",
    "predict_dataloader": "get_pred_generator(pred_path) gives the data",
    **dict.fromkeys(
        OF_STEPS,
        "a train_step of your own calls self.backward(loss) and self.optimizer_step(); on_before_step(self) "
        "may change the gradients before each update",
    ),
    **dict.fromkeys(
        ("save", "load", "as_member", "evaluate_mc"),
        "a run keeps the states of a training itself, and evaluates the test set with eval_step and "
        "eval_metrics",
    ),
    **dict.fromkeys(
        [f"on_{part}_{end}" for part in ("train", "training", "validation") for end in ("start", "end")]
        + [f"on_{part}_epoch_{end}" for part in ("train", "validation") for end in ("start", "end")]
        + [f"on_{part}_batch_{end}" for part in ("train", "validation") for end in ("start", "end")]
        + ["on_epoch_start", "on_epoch_begin", "on_fit_start", "on_fit_end", "train_epoch"]
        + ["training_epoch_end", "validation_epoch_end", "fit_epoch"],
        "train_step and eval_step get each batch, eval_metrics and get_hyperband_reward each epoch",
    ),
}
"""Methods that no run calls, of other packages and of ours, and what to do instead."""
ATTRIBUTES = ("class_names", "label_names", "default_criterion")
"""What a class Model may have besides methods."""
STEMS = {
    "training": "train",
    **dict.fromkeys(("valid", "validation", "validate"), "val"),
    **dict.fromkeys(("evaluation", "evaluate"), "eval"),
    "testing": "test",
    **dict.fromkeys(("predict", "prediction", "predicted"), "pred"),
    **dict.fromkeys(("configuration", "configure", "cfg"), "config"),
    "losse": "loss",
}
"""Forms of one word, each without an s at its end."""
SURE_MISSPELLING = 0.88  # of what is optional, as save_predictions for save_prediction


def kind_of(model: BaseModel) -> str:
    """What the labels of a model are by its class, as `KINDS` has it; "" where that does not tell."""
    return next((name for kind, name in KINDS.items() if isinstance(model, kind)), "")


def misspelt(name: str, names: Collection[str], defined: Collection[str], optional: bool) -> str | None:
    """The one of some names that is close to the wanted one, and closer to no other that is not `defined`.

    Where the wanted one is `optional`, only a name that can hardly be meant otherwise is taken.
    """
    form, cutoff = (_letters, SURE_MISSPELLING) if optional else (str, 0.6)
    named = (*FUNCTIONS, *METHODS, *ATTRIBUTES)
    contract = {*named, *vars(BaseModel)} - OTHER_NAMES["train_step"]
    missing = {form(other): other for other in named if other not in defined}
    alike = {_stems(other) for other in (name, *OTHER_NAMES.get(name, ()))}
    for other in names:
        if other in contract or other.startswith("_"):
            continue
        near = difflib.get_close_matches(form(other), missing, 1, cutoff)
        if _stems(other) in alike or [missing[letters] for letters in near] == [name]:
            return other
    return None


def uncalled(model: type[BaseModel], unused: Mapping[str, Any]) -> list[str]:
    """What is wrong with those of a Model's methods and attributes that its definition does not refer to.

    They are names of outputs that another kind of model has, near misses of attributes, and methods that no
    run calls.
    """
    faults = []
    wrong, right = "label_names", "class_names"
    if any("label_names" in vars(above) for above in model.__mro__[1:]):
        wrong, right = right, wrong
    if wrong in unused:
        faults.append(f"Model.{wrong}: nothing of this kind of model reads it; did you mean {right}?")
    for name in ATTRIBUTES:
        if name not in unused and (near := misspelt(name, unused, unused, optional=True)):
            faults.append(f"Model.{near}: did you mean {name}?")
    for name in HOOKS.keys() & unused.keys():
        if isinstance(unused[name], FunctionType):
            faults.append(f"Model.{name}: no run calls it; {HOOKS[name]}")
    return faults


def signature_faults(function: Any, name: str, call: str, parameters: tuple[str, ...]) -> list[str]:
    try:
        signature = inspect.signature(function)
    except ValueError:  # a builtin shows no signature
        return []
    try:
        signature.bind(*parameters)
    except TypeError:
        return [f"{name} takes {signature}; it is called as {call}"]
    return []


def names_used(tree: ast.AST) -> Iterator[str]:
    """What is referred to by name, as an attribute or as a string, but for attributes of `super()`.

    Tensors have a `backward` too, so those of a model are attributes of `self`.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            function = node.value.func if isinstance(node.value, ast.Call) else None
            of_super = isinstance(function, ast.Name) and function.id == "super"
            of_self = isinstance(node.value, ast.Name) and node.value.id == "self"
            if not of_super and (of_self or node.attr not in OF_STEPS):
                yield node.attr


def _stems(name: str) -> tuple[str, ...]:
    """The words of a name, so that its other forms are the same: save_preds, savePrediction."""
    words = (word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", name))
    plain = (word if word.endswith("ss") else word.removesuffix("s") for word in words)
    return tuple(STEMS.get(word, word) for word in plain)


def _letters(name: str) -> str:
    return name.replace("_", "").lower()
