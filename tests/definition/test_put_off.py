"""What hyperopt imports and a definition does not use is not imported."""

import subprocess
import sys
from pathlib import Path

from conftest import ROOT

DEFINITION = """
import sys

from hyperopt import hp

was_there = "scipy.stats" in sys.modules


def get_config():
    return {"lr": hp.loguniform("lr", -5, 0)}
"""


def said(code: str, folder: Path) -> list[str]:
    """What a process prints that has loaded the definition as `found`."""
    (folder / "def.py").write_text(DEFINITION)
    before = f"""
import sys

sys.path.insert(0, {str(ROOT)!r})
from helixband.definition import load_definition

found = load_definition({str(folder / "def.py")!r})
"""
    done = subprocess.run([sys.executable, "-c", before + code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_definition_with_ranges_of_hyperopt_needs_no_scipy_stats(tmp_path: Path) -> None:
    assert said("print(found.module.was_there)", tmp_path) == ["False"]


def test_the_part_is_imported_by_its_first_use(tmp_path: Path) -> None:
    code = """
import hyperopt
from hyperopt import atpe

print(hasattr(atpe, "__path__"), "scipy.stats" in sys.modules)
print(callable(atpe.suggest), "scipy.stats" in sys.modules, hyperopt.atpe is sys.modules["hyperopt.atpe"])
print(hasattr(atpe, "no_such_name"), "__getattr__" in vars(atpe))
"""
    assert said(code, tmp_path) == ["False False", "True True True", "False False"]


def test_names_of_the_part_can_be_imported_by_several_threads_at_once(tmp_path: Path) -> None:
    code = """
import threading

found_by = []


def ask():
    from hyperopt.atpe import suggest

    found_by.append(suggest.__name__)


threads = [threading.Thread(target=ask) for _ in range(4)]
for each in threads:
    each.start()
for each in threads:
    each.join()
print(found_by)
"""
    assert said(code, tmp_path) == ["['suggest', 'suggest', 'suggest', 'suggest']"]


def test_all_of_the_part_is_imported_with_a_star(tmp_path: Path) -> None:
    assert said("from hyperopt.atpe import *\nprint(callable(suggest))", tmp_path) == ["True"]


def test_an_import_that_failed_is_tried_again(tmp_path: Path) -> None:
    code = """
import hyperopt

sys.modules["scipy.stats"] = None
try:
    hyperopt.atpe.suggest
except ImportError as error:
    print("scipy.stats" in str(error))
del sys.modules["scipy.stats"]
print(callable(hyperopt.atpe.suggest))
"""
    assert said(code, tmp_path) == ["True", "True"]
