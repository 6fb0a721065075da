"""What the JSON documents of a result directory look like, by the types of their values."""

from helixband.files import Shape

_WEIGHTS: Shape = {"trial": str, "epochs": int, "weights": str, ...: object}

RUN: Shape = {
    "command": [str],
    "data": str,
    "definition": {"path": str, "sha256": str, "hparams": int, "classes": [str]},
    "settings": {
        "seed": int,
        "epoch": int,
        "batch_size": int,
        "eta": int,
        "schedule": str,
        "sampler": str,
        "stop_hopeless": bool,
        "keep_checkpoints": int,
        "with": dict,
    },
    "environment": {...: str},
    "os_environ": {...: (str, None)},
    "modules": {...: str},
    "stages": {"evaluate": _WEIGHTS, ...: dict},
    "digests": {...: str},
    "single": {"config": dict, "finished": bool},
    "start": (dict, None),
    "log_scaled": ([str], None),
}

AUDIT: Shape = {
    "of": {"definition": str, "test": str},
    "similar_digests": [str],
    "similar_examples": [int],
    "warnings": [str],
    "notes": [str],
}

RECORD: Shape = {
    "facts": {**_WEIGHTS, "path": str, "content": str},
    "seen": {"path": str, "file": [int]},
    "formats": [str],
    "part": {"windows": [[int]], "of": int},
    "outputs": [str],
    "begun": [str],
    "digests": {...: str},
}

PLAN: Shape = {"trial": str, "epochs": int, "steps_per_epoch": (int, None)}

HISTORY: Shape = {
    "trial": str,
    "epochs": int,
    "checksums": [int],
    "written": str,
    "ended": str,
    "reward": float,
    "steps": [str],
}

METRICS: Shape = {...: (float, None)}

BASELINES: Shape = {...: (float, str, None)}

EVENTS: dict[str, Shape] = {
    "search": {
        "max_epochs": int,
        "trials": (int, None),
        "schedule": str,
        "eta": int,
        "sampler": str,
        "seed": int,
        "batch_size": int,
        "stop_hopeless": bool,
        "set": dict,
        "try": [dict],
        "pack": int,
    },
    "trial": {"trial": int, "round": int, "bracket": int, "config": dict},
    "result": {
        "trial": int,
        "epochs": int,
        "trained": int,
        "reward": (float, None),
        "best_epoch": int,
        "ended": str,
        "error": (str, None),
        "stops": [int],
    },
}
"""The lines of a journal, by their event."""

NEEDED = {
    "search": ("max_epochs", "trials", "schedule", "eta"),
    "trial": ("trial", "round", "bracket", "config"),
    "result": ("trial", "epochs", "trained", "reward", "best_epoch", "error", "stops"),
}
"""What a line has to have."""
