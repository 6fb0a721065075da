"""A disk that fails once: a run ends with an error or the right results, and the same command mends it.

`benchmarks/faults.py` tries all calls in all ways; here are some of them.
"""

import json
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.skipif(sys.platform != "linux", reason="calls are made to fail by LD_PRELOAD, which Linux has")
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no cc to compile what makes calls fail")
def test_a_call_that_fails_once_is_told_or_does_no_harm() -> None:
    pytest.importorskip("pybigtools")
    script = ROOT / "benchmarks" / "faults.py"
    command = [sys.executable, str(script), "--json", "--calls", "20", "--search", "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    runs = json.loads(done.stdout)["runs"]
    assert [run["not as wanted"] for run in runs.values()] == [[], []]
    assert [run["faults"] for run in runs.values()] == [20, 10]
    assert all(run["told"] >= 5 and run["calls"] > 90 for run in runs.values())
