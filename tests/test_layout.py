"""The rooms of the house: what may import what, how long a file may be, and what --help does without."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

# A module imports from the levels above its own in this list, and from no other. A new one gets a place here.
LEVELS = [
    ["helixband.run"],
    ["helixband.search.executors"],
    ["helixband.search.samplers"],
    ["helixband.results"],
    ["helixband.display"],
    ["helixband.audit"],
    # No torch model, no results: what anything may use.
    ["helixband", "helixband.errors", "helixband.interruption", "helixband.nested", "helixband.randomness"],
    ["helixband.env", "helixband.files"],
    # Sequences: files and arrays, NumPy alone.
    [
        "helixband.sequence",
        "helixband.sequence.alphabet",
        "helixband.sequence.intervals",
        "helixband.sequence.reading",
    ],
    [
        "helixband.sequence.augmentation",
        "helixband.sequence.fasta",
        "helixband.sequence.interval_files",
        "helixband.sequence.metadata",
        "helixband.sequence.similarity",
        "helixband.sequence.splits",
        "helixband.sequence.windows",
    ],
    [
        "helixband.audit.baselines",
        "helixband.sequence.chromosomes",
        "helixband.sequence.store",
        "helixband.sequence.targets",
    ],
    ["helixband.audit.audit", "helixband.sequence.negatives"],
    # The parts: each does one thing and knows little of the others.
    [
        "helixband.results.checkpoints",
        "helixband.generators.hdf5",
        "helixband.metrics",
        "helixband.results.directory",
        "constraints",
    ],
    ["helixband.networks", "helixband.networks.heads", "helixband.networks.one_hot"],
    [
        "helixband.training",
        "helixband.training.batches",
        "helixband.training.keeper",
        "helixband.training.losses",
        "helixband.training.schedules",
        "helixband.training.tensorboard",
    ],
    ["helixband.training.loop", "helixband.training.monte_carlo", "helixband.training.state"],
    ["helixband.generators", "helixband.generators.base"],
    ["helixband.generators.sequences"],
    ["helixband.generators.datasets", "helixband.generators.fasta"],
    ["helixband.generators.intervals"],
    ["batch_generator", "helixband.training.configuration", "helixband.display.progress"],
    ["helixband.display.live"],
    # Pictures, made from files alone.
    ["helixband.report", "helixband.report.logo", "helixband.report.page"],
    ["helixband.report.tracks"],
    ["helixband.report.scores"],
    ["helixband.report.region"],
    ["helixband.report.summary"],
    ["helixband.report.columns"],
    ["helixband.report.export", "helixband.report.importance"],
    ["helixband.report.html"],
    ["helixband.report.__main__"],
    # The model, and the definition that makes one.
    ["base_model"],
    ["helixband.definition"],
    # Trials, the search over them, and the whole experiment.
    ["helixband.outputs", "helixband.outputs.rows"],
    [
        "helixband.outputs.arrays",
        "helixband.outputs.bigwig",
        "helixband.outputs.parts",
        "helixband.outputs.table",
    ],
    ["helixband.outputs.whole", "helixband.run.runfile", "helixband.audit.examples"],
    ["helixband.outputs.windows", "helixband.run.context"],
    ["helixband.run.evaluation", "helixband.run.prediction"],
    [
        "hyperband",
        "helixband.search",
        "helixband.search.executors.address",
        "helixband.search.samplers.evidence",
        "helixband.search.hopeless",
        "helixband.search.executors.task",
    ],
    [
        "helixband.search.samplers.random",
        "helixband.search.schedules",
        "helixband.search.executors.trial",
    ],
    ["helixband.search.samplers.density", "helixband.search.journal", "helixband.search.executors.process"],
    ["helixband.search.samplers.tpe"],
    [
        "helixband.search.samplers.choice",
        "helixband.search.executors.local",
        "helixband.search.executors.worker",
    ],
    ["helixband.search.executors.dask_plugin"],
    ["helixband.search.executors.dask_clusters"],
    ["helixband.search.executors.cluster"],
    ["helixband.search.run", "helixband.search.executors.workers"],
    ["helixband.run.experiment"],
    ["helixband.run.command"],
    ["main", "helixband.__main__"],
    ["helixband.audit.__main__"],
]

LINES = {"base_model": 480}  # and 400 of any other


def module_files() -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    found = {}
    for path in [*ROOT.glob("*.py"), *(ROOT / "helixband").rglob("*.py")]:
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = module_files()


def imports(path: Path) -> set[str]:
    """The modules of the project that a file imports, at its top or inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: a relative import"
            within = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (within & MODULES.keys()) or {node.module}
    return found & MODULES.keys()


def test_every_module_has_its_level() -> None:
    assert sorted(name for level in LEVELS for name in level) == sorted(MODULES)


@pytest.mark.parametrize("level", range(len(LEVELS)), ids=lambda level: LEVELS[level][0])
def test_a_module_imports_from_the_levels_before_it_alone(level: int) -> None:
    allowed = {name for earlier in LEVELS[:level] for name in earlier}
    forbidden = {name: imports(MODULES[name]) - allowed for name in LEVELS[level]}
    assert not {name: found for name, found in forbidden.items() if found}


def test_the_imports_are_read_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "import os\nimport hyperband\nfrom helixband import __version__, files\n"
        "def f():\n    from helixband.training.loop import evaluate\n"
    )
    assert imports(tmp_path / "a.py") == {"hyperband", "helixband.files", "helixband.training.loop"}


@pytest.mark.parametrize("name", MODULES)
def test_a_file_is_short_enough_to_be_read(name: str) -> None:
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= LINES.get(name, 400)


def test_help_answers_at_once() -> None:
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "--help"], capture_output=True, text=True, check=True
    )
    assert time.monotonic() - start < 2
    assert "--hyper" in done.stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom helixband.run import command\n"
        "try: command.main(['--help'])\n"
        "except SystemExit: print(*sys.modules, sep='\\n', file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = set(done.stderr.split())
    assert "argparse" in imported
    assert not imported & {"torch", "numpy", "scipy", "sklearn", "h5py", "hyperopt", "rich", "matplotlib"}
