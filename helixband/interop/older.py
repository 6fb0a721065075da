"""What Lightning had once and has no more: keys of its Trainer, and hooks of modules and data modules."""

from collections.abc import Callable, Mapping
from typing import Any

from helixband.errors import UsageError

Keys = dict[str, Any]


def translated(trainer: Mapping[str, Any]) -> tuple[Keys, Keys, list[str]]:
    """The keys of a Trainer as they are now, those for the experiment (`ckpt_path`), a line for each change.

    Raises `UsageError` for a key that nothing stands for, with what to do instead.
    """
    now, above, told = dict(trainer), Keys(), list[str]()
    for key in trainer:
        if key in REFUSED and trainer[key] not in (None, False):
            raise UsageError(f"trainer.{key}: Lightning has it no more; {REFUSED[key]}")
        if key not in TRANSLATED and key not in REFUSED:
            continue
        value = now.pop(key)
        new = TRANSLATED[key](value) if key in TRANSLATED else {}
        for name in new.keys() & ABOVE:
            above[name] = new.pop(name)
        now |= new
        said = [f"trainer.{name}={_shown(each)}" for name, each in new.items()]
        said += [f"{name}={_shown(each)}" for name, each in above.items() if key == "resume_from_checkpoint"]
        told.append(
            f"trainer.{key}={_shown(value)} is read as {', '.join(said) or 'nothing: it is the default'}"
        )
    if now.get("accelerator") in STRATEGIES:
        name = now["accelerator"]
        now |= {"accelerator": "auto", "strategy": name}
        told.append(f"trainer.accelerator={name} is read as trainer.strategy={name}")
    return now, above, told


def _shown(value: Any) -> str:
    """A value as YAML has it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _gpus(value: Any) -> Keys:
    if value in (None, 0, "0", [], ""):
        return {"accelerator": "cpu"} if value in (0, "0") else {}
    return {"accelerator": "gpu", "devices": value}


def _first_batches(count: int) -> Keys:
    """One epoch of so many batches of each set, whose test is not left out by it."""
    limits = {f"limit_{name}_batches": count for name in ("train", "val", "test", "predict")}
    return {"max_epochs": 1, **limits}


ABOVE = {"ckpt_path"}
STRATEGIES = {"ddp", "ddp_spawn", "dp", "ddp2", "fsdp", "deepspeed"}

TRANSLATED: dict[str, Callable[[Any], Keys]] = {
    "resume_from_checkpoint": lambda value: {"ckpt_path": value},
    "gpus": _gpus,
    "tpu_cores": lambda value: {"accelerator": "tpu", "devices": value} if value else {},
    "num_processes": lambda value: {"accelerator": "cpu", "devices": value} if value and value > 1 else {},
    "auto_select_gpus": lambda value: {},
    "distributed_backend": lambda value: {"strategy": value} if value else {},
    "weights_summary": lambda value: {"enable_model_summary": value is not None},
    "progress_bar_refresh_rate": lambda value: {"enable_progress_bar": value != 0},
    "checkpoint_callback": lambda value: {"enable_checkpointing": bool(value)},
    "replace_sampler_ddp": lambda value: {"use_distributed_sampler": bool(value)},
    "reload_dataloaders_every_epoch": lambda value: {"reload_dataloaders_every_n_epochs": int(bool(value))},
    "terminate_on_nan": lambda value: {"detect_anomaly": bool(value)},
    "flush_logs_every_n_steps": lambda value: {},
    "move_metrics_to_cpu": lambda value: {},
    "process_position": lambda value: {},
    "prepare_data_per_node": lambda value: {},
    "amp_backend": lambda value: {},
    "fast_dev_run": lambda value: _first_batches(int(value)) if value else {},
    "weights_save_path": lambda value: {"default_root_dir": value} if value else {},
}
"""Key of a Trainer before 2.0, or of what a run does in its own way -> its value -> keys of now."""

REFUSED = {
    "auto_lr_find": "leave it out, and have --hyper search the learning rate",
    "auto_scale_batch_size": "leave it out, and give the batch size, or have --hyper search it",
    "truncated_bptt_steps": "split the sequences in training_step with automatic_optimization = False",
    "stochastic_weight_avg": "add lightning.pytorch.callbacks.StochasticWeightAveraging to callbacks",
    "track_grad_norm": "log lightning.pytorch.utilities.grad_norm in on_before_optimizer_step",
    "log_gpu_memory": "add lightning.pytorch.callbacks.DeviceStatsMonitor to callbacks",
    "multiple_trainloader_mode": "return a lightning.pytorch.utilities.CombinedLoader from train_dataloader",
    "amp_level": "give precision: 16-mixed",
    "ipus": "its processors have a package of their own",
}

_EPOCH = "on_{}_epoch_end(self), with the outputs that {}_step kept in self"
_START = "on_train_epoch_{0}, on_validation_epoch_{0} and on_test_epoch_{0}"
HOOKS = {
    "training_epoch_end": _EPOCH.format("train", "training"),
    "validation_epoch_end": _EPOCH.format("validation", "validation"),
    "test_epoch_end": _EPOCH.format("test", "test"),
    "training_step_end": "the end of training_step itself",
    "validation_step_end": "the end of validation_step itself",
    "test_step_end": "the end of test_step itself",
    "on_epoch_start": _START.format("start"),
    "on_epoch_end": _START.format("end"),
    "on_batch_start": "on_train_batch_start",
    "on_batch_end": "on_train_batch_end",
    "on_pretrain_routine_start": "on_fit_start",
    "on_pretrain_routine_end": "on_fit_start",
    "on_hpc_save": "on_save_checkpoint",
    "on_hpc_load": "on_load_checkpoint",
    "get_progress_bar_dict": "self.log(name, value, prog_bar=True)",
    "on_post_move_to_device": "configure_model",
    "tbptt_split_batch": "training_step with automatic_optimization = False",
    "get_train_dataloader": "train_dataloader",
    "on_train_dataloader": "train_dataloader",
    "on_val_dataloader": "val_dataloader",
    "on_test_dataloader": "test_dataloader",
    "on_predict_dataloader": "predict_dataloader",
    "val_dataloaders": "val_dataloader",
}
"""Hook that no Trainer since 2.0 calls -> its successor."""


def removed_hooks(cls: type[Any]) -> list[str]:
    """A line for each hook that a class of the user's has and Lightning calls no more, with its successor."""
    own = [base for base in cls.__mro__ if not base.__module__.startswith(("lightning", "pytorch_lightning"))]
    defined = {name for base in own for name in vars(base)}
    return [
        f"{cls.__name__}.{name}: Lightning 2 calls it no more; write {successor}"
        for name, successor in HOOKS.items()
        if name in defined
    ]
