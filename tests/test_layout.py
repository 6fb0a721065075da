"""The map of the house: the rooms from the ground up, the files in each, and what may import what.

A room is a module at the top, a folder of `helixband/`, or a single module directly in `helixband/`. A room
imports only from rooms of lower floors. Within a room, a file imports only from files of earlier steps. A new
room or file gets a place here: a file in the earliest step that is later than all that it imports, or in a
step of its own. `helixband/__init__.py` is the door: it has names as strings and imports nothing, and so it
is on no floor.
"""

import ast
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

FLOORS = [
    {
        "errors": "what a user can cause, each with its exit code",
        "interruption": "Ctrl-C and SIGTERM",
        "nested": "dicts, tuples and lists of arrays",
        "randomness": "seeds, and the global random numbers",
    },
    {
        "constraints": "what holds for weights after a step",
        "env": "environment variables that a definition reads",
        "files": "writing whole or not at all, through no stranger's link; locks; finding by name",
        "hyperband": "brackets; Hyperband with ask() for the next job and tell() for a result",
        "losses": "losses that torch has not, or not with labels that are missing",
        "metrics": "numbers from NumPy arrays",
    },
    {
        "results": "the result directory and checkpoints: only this room has the names of files in it",
        "sequence": "alphabets, FASTA, intervals, splits: files and arrays, NumPy alone",
    },
    {
        "display": "what a person sees while a run is under way",
        "generators": "batches of sequences and of HDF5 tables",
        "networks": "encoders, heads, and what is around them",
        "report": "the HTML report, exports, pictures of a region",
    },
    {
        "batch_generator": "array generators; the one place to import all generators",
        "training": "the engine: members, passes, steps, states",
    },
    {
        "audit": "leakage and trivial models that could explain a good score",
        "base_model": "what a definition derives its Model from",
        "hparams": "hyperparameters by name: values, flags, spaces, paths; without torch",
    },
    {"interop": "LightningModules and DataModules as they are, trained by Lightning"},
    {
        "definition": "a def.py: loaded, checked for the functions it needs, called",
        "outputs": "predictions as files",
        "tasks": "models of common tasks, ready to subclass",
    },
    {
        "jobs": "command lines of main.py sent away: this machine, SSH, Slurm; their status from files",
        "search": "the search over configurations: samplers, schedules, executors",
    },
    {"run": "flags, the stages of a run, exit codes"},
    {
        "main": "the command: main.py in a checkout, `python -m helixband` anywhere",
        "pipelines": "a finished experiment as a function: bundles, their export and their predictions",
    },
]

FILES = {
    "audit": [
        "baselines",
        "audit",
        "__main__ examples",
    ],
    "definition": [
        "contract folder lasting put_off returned",
        "classes",
        "own",
        ".",
    ],
    "display": [
        "pace screen text",
        "progress",
        "plain",
        "live",
    ],
    "files": [
        "finding links reading shapes",
        "writing",
        "documents in_place",
        "locks",
    ],
    "generators": [
        "arrays coverage splitting",
        "gathers hdf5",
        "ahead base",
        "sampling",
        "memory",
        "mixtures sequences",
        "datasets fasta",
        "intervals",
    ],
    "hparams": [
        "kinds ranges",
        "declaration",
        "flags labels",
        "hparams",
        ".",
        "groups",
    ],
    "interop": [
        "arguments composing course new older place planned prepared rooted targets",
        "packages",
        "promises",
        "__main__ callback data scored searched weights",
        "experiment",
        "model",
        ".",
    ],
    "jobs": [
        "code layout machine status templates",
        "command job systems",
        "named schedulers ssh",
        "collecting looking making slurm",
        "settings",
        "jobs",
        ".",
        "__main__",
    ],
    "losses": [
        "base negative_binomial",
        "classes counts shapes",
        ".",
    ],
    "metrics": [
        "common",
        "classes tokens values",
        "outcomes spans",
        ".",
    ],
    "networks": [
        "attention checks heads masks",
        "decoders one_hot pooling",
        "encoder",
        "convolutional recurrent sequence_heads sequence_network stack transformer",
        "reverse_complement",
        ".",
    ],
    "outputs": [
        "rows",
        "arrays blocks parts strands table",
        "bigwig",
        ".",
        "formats merging whole",
        "along",
        "windows",
    ],
    "pipelines": [
        "bundle card code form graph state",
        "predictor",
        "loading",
        ".",
        "exporting",
        "__main__",
    ],
    "report": [
        "charts logo page pictures summary",
        "columns tracks",
        "export importance plots scores",
        "evaluation region",
        "html",
        "__main__",
    ],
    "results": [
        "attempt checkpoints digests glance pictures scored shapes",
        "journal",
        "trial",
        "directory",
        "best older",
    ],
    "run": [
        "code trying values",
        "early flags runfile",
        "context hyperparameters parser records",
        "evaluation experiments inputs replacement starting trained untrained",
        "prediction",
        "batch_size findings following packing",
        "checks data_check opening",
        "experiment",
        "command",
    ],
    "search": [
        "hopeless schedules samplers.evidence",
        "executors executors.address executors.forks executors.memory executors.network",
        "executors.printed executors.task",
        "journal samplers.random samplers.prior executors.spawned executors.trial",
        "executors.early executors.followers given samplers.density executors.process",
        "space executors.companions",
        "samplers.tpe executors.local executors.together",
        "executors.chunks",
        "executors.scoring executors.windows",
        "executors.chunk_worker",
        "samplers executors.dask_plugin executors.packs executors.worker",
        "samplers.choice executors.companion",
        "run executors.dask_clusters",
        "executors.dask_ssh",
        "executors.cluster",
        "executors.workers",
    ],
    "sequence": [
        "alphabet headers metadata reading",
        "intervals",
        "augmentation chromosomes fasta interval_files similarity splits windows",
        "bigwig encoded targets",
        "store",
        "negatives regions",
    ],
    "tasks": [
        "alignment corruption positions profiles regression",
        "restoring token_classification",
        "autoencoder masked_tokens",
        ".",
    ],
    "training": [
        "constants ended feed forward_errors gradients guard keeper modes objects optimizers tape waiting",
        "meters",
        "compiler curves drawing graphs losses portions processes residence rows schedules turns unique way",
        "batch_metrics distributed foreign options parameters precision result start weights",
        "broadcasting epochs hooks parts parts.constrain parts.skip steps tensorboard weighting",
        "configuration monte_carlo parts.average parts.freeze parts.schedule parts.update plain",
        "parts.clip patience",
        "parts.order",
        "holdings",
        "iterators settings snapshot stored",
        "state",
        "engine reading",
        "given member",
        "steps.stepper steps.eager",
        "steps.spread steps.rows steps.stacks steps.masks steps.unfolded steps.updates",
        "passes steps.described steps.stacked",
        "steps.reached",
        "steps.packable",
        "steps.reads",
        "replays steps.watch",
        "carried fit judge steps.template",
        "pictures rehearsal steps.trying steps.numbers",
        "steps.dropout steps.keys",
        "steps.pack",
        "steps.block steps.taking",
        "steps.packed",
        "steps.captured",
        "single",
    ],
}
"""The files of each room. A line is a step: its files import only from files in the lines above it.

A dot is the folder's own `__init__.py`, where that imports by strings."""

ROOMS, FLOORS_HIGH, IMPORTS = 30, 11, 152  # at most
LINES = {"base_model": 495}  # and 400 of any other


def module_files() -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    found = {}
    for path in [*ROOT.glob("*.py"), *(ROOT / "helixband").rglob("*.py")]:
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = module_files()


def room(module: str) -> str:
    """The room that a module is in."""
    if module == "helixband.__main__":
        return "main"
    return module.split(".")[1] if module.startswith("helixband.") else module


def imports(path: Path) -> set[str]:
    """The modules that a file imports: at its top, in its functions, or by a string such as "module:name"."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: a relative import"
            within = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (within & MODULES.keys()) or {node.module}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= set(re.findall(r"^([\w.]+):\w+$", node.value))
    return found & MODULES.keys()


def needed_rooms(name: str) -> set[str]:
    """The other rooms that a room imports from."""
    found = {other for module, path in MODULES.items() if room(module) == name for other in imports(path)}
    return {room(module) for module in found} - {name, "helixband"}


def test_every_room_has_its_floor() -> None:
    assert sorted(name for floor in FLOORS for name in floor) == sorted({*map(room, MODULES)} - {"helixband"})


@pytest.mark.parametrize("number", range(len(FLOORS)), ids=lambda number: " ".join(FLOORS[number]))
def test_a_room_needs_rooms_of_lower_floors_alone(number: int) -> None:
    below = {name for floor in FLOORS[:number] for name in floor}
    assert {name: needed_rooms(name) - below for name in FLOORS[number]} == {
        name: set() for name in FLOORS[number]
    }


def test_the_door_imports_nothing_of_the_house() -> None:
    assert imports(MODULES["helixband"]) == set()


def test_the_house_is_small_enough_to_be_known() -> None:
    rooms = [name for floor in FLOORS for name in floor]
    assert len(rooms) <= ROOMS
    assert len(FLOORS) <= FLOORS_HIGH
    assert sum(len(needed_rooms(name)) for name in rooms) <= IMPORTS


def test_every_file_has_its_place_in_its_room() -> None:
    files = {name: " ".join(steps).split() for name, steps in FILES.items()}
    placed = [f"helixband.{name}.{file}" for name in files for file in files[name] if file != "."]
    inside = [name for name in MODULES if name.count(".") >= 2]
    assert sorted(placed) == sorted(inside)


@pytest.mark.parametrize("name", FILES)
def test_a_file_needs_files_before_it_alone(name: str) -> None:
    before = set() if "." in FILES[name] else {f"helixband.{name}"}
    for step in FILES[name]:
        files = [f"helixband.{name}.{file}".removesuffix("..") for file in step.split()]
        inside = {file: {found for found in imports(MODULES[file]) if room(found) == name} for file in files}
        assert {file: found - before for file, found in inside.items()} == {file: set() for file in files}
        before |= set(files)


def test_the_imports_are_read_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "import os\nimport hyperband\nfrom helixband import __version__, files\n"
        "def f():\n    from helixband.training.passes import evaluate\n"
        "TABLE = {'npy': 'helixband.outputs.arrays:Npy'}\n"
    )
    found = {"hyperband", "helixband.files", "helixband.training.passes", "helixband.outputs.arrays"}
    assert imports(tmp_path / "a.py") == found


@pytest.mark.parametrize("name", MODULES)
def test_a_file_is_short_enough_to_be_read(name: str) -> None:
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= LINES.get(name, 400)


def test_no_two_files_of_tests_have_one_name() -> None:
    # pytest imports them by their names alone, and takes the first of two.
    names = [path.name for path in (ROOT / "tests").rglob("*.py")]
    assert sorted(names) == sorted(set(names))


def test_help_answers_at_once() -> None:
    command = [sys.executable, str(ROOT / "main.py"), "--help"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
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
