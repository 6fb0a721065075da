"""What the benchmarks share: the project on the path, its examples, the machine, tables."""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402


def make_parser(description: str) -> argparse.ArgumentParser:
    """The flags of every benchmark."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--threads", type=int, default=1, help="threads of torch [%(default)s]")
    parser.add_argument("--cpu", action="store_true", help="use the CPU though there is a GPU")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    return parser


def load_script(path: Path) -> ModuleType:
    """A script of the examples as a module."""
    spec = importlib.util.spec_from_file_location(f"benchmarked_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def setting(device: torch.device, packages: Sequence[str] = ("torch", "numpy")) -> dict[str, Any]:
    """What the figures were measured with."""
    found = {name: _version(name) for name in packages}
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "cpu_cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: version for name, version in found.items() if version},
    }


def report(document: dict[str, Any], tables: Sequence[str], as_json: bool) -> None:
    """Print what was measured, for people or for programs."""
    if as_json:
        print(json.dumps(document, indent=2))
        return
    print("  ".join(f"{name} {value}" for name, value in document["setting"].items()))
    for text in tables:
        print(f"\n{text}")


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns aligned: names to the left, numbers to the right."""
    cells = [list(map(str, row)) for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for name, *numbers in cells:
        aligned = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *aligned]).rstrip())
    return "\n".join(lines)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
