"""The report as text, and the command line that writes it; what it looks like is tested in a browser."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from report_toys import RUN, SEARCH, begun, big_search, result, write_history, write_results

from helixband.report.__main__ import main
from helixband.results.pictures import Picture, write_pictures


def report(path: Path) -> str:
    assert main([str(path)]) == 0
    return (path / "report.html").read_text(encoding="utf-8")


def data(page: str) -> Any:
    """What the page carries for its scripts."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def text(page: str) -> str:
    """The page without scripts, styles and tags."""
    return re.sub(r"<script.*?</script>|<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)


def test_the_report_carries_the_trials(tmp_path: Path) -> None:
    events = [SEARCH, begun(0, {"lr": 0.1, "net": {"units": 4}}), begun(1, {"lr": 0.2}), result(0, 1, -1 / 3)]
    write_results(tmp_path, events)
    write_history(tmp_path, "0000", [-1 / 3])
    found = data(report(tmp_path))
    assert [column["name"] for column in found["columns"]] == ["lr", "net/units"]
    assert found["metrics"] == ["reward", "val_loss"]
    first, second = found["trials"]
    assert (first["id"], first["values"], first["reward"]) == ("0000", [0.1, 4], -1 / 3)
    assert first["curves"] == [[-0.33333], [0.33333]]
    assert (second["values"], second["reward"], second["level"], second["curves"]) == (
        [0.2, None],
        None,
        -1,
        [None, None],
    )
    assert found["brackets"] == [{"bracket": 0, "label": "Bracket 1: 1 to epoch 1"}]


def test_the_header_tells_what_was_run(tmp_path: Path) -> None:
    page = text(report(write_results(tmp_path, [SEARCH, begun(0, {}), result(0, 1, -0.25)])))
    told = ("def.py", "search unfinished", "2.13.0", "hyperband", "-0.25", "main.py --model def.py --hyper")
    assert [part for part in told if part not in page] == []


def test_a_best_trial_that_was_trained_on_is_told_beside_the_epochs_of_the_search(tmp_path: Path) -> None:
    write_results(tmp_path, [SEARCH, begun(0, {}), result(0, 9, -1.0)])
    write_history(tmp_path, "0000", [-1.0] * 9)
    assert "max epochs 9 " in " ".join(text(report(tmp_path)).split())
    write_history(tmp_path, "0000", [-1.0] * 11)
    assert "max epochs 9; the best trained on to 11 " in " ".join(text(report(tmp_path)).split())


def test_the_report_is_the_same_again(tmp_path: Path) -> None:
    path = big_search(tmp_path, 30, max_epochs=9)
    assert report(path) == report(path)


def test_nothing_but_the_report_is_written(tmp_path: Path) -> None:
    path = big_search(tmp_path, 30, max_epochs=9)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    report(path)
    after = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert after.pop(path / "report.html")
    assert after == before


def test_the_report_loads_nothing(tmp_path: Path) -> None:
    page = report(big_search(tmp_path, 30, max_epochs=9))
    assert not re.search(r"<link|<img|<iframe|@import|\bsrc=|\bhref=|url\(|fetch\(|XMLHttpRequest", page)
    assert set(re.findall(r"https?://[^\"' ]*", page)) == {"http://www.w3.org/2000/svg"}  # a name, no address


def test_names_are_escaped(tmp_path: Path) -> None:
    bad = '</script><b>"&ü'
    events = [SEARCH, begun(0, {bad: bad}), result(0, 1, None, 0, bad)]
    write_results(tmp_path, events, RUN | {"command": [bad]})
    (tmp_path / "test_result.json").write_text(json.dumps({bad: 1}))
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "\udcff<b>.npy").write_text("")  # a file name that is no UTF-8
    page = report(tmp_path)
    assert "<b>" not in page
    assert data(page)["trials"][0]["error"] == bad
    assert "&lt;/script&gt;&lt;b&gt;&quot;&amp;ü" in page


@pytest.mark.parametrize("trials", [0, 2])
@pytest.mark.parametrize("predictions", [0, 2])
def test_all_sections_are_in_the_main_part(tmp_path: Path, trials: int, predictions: int) -> None:
    write_results(tmp_path, [SEARCH, *(begun(number, {"lr": 0.1}) for number in range(trials))])
    (tmp_path / "predictions").mkdir()
    for number in range(predictions):
        (tmp_path / "predictions" / f"{number}.npy").write_bytes(b"")
    page = re.sub(r"<script.*?</script>", "", report(tmp_path), flags=re.DOTALL)
    before, main_part, after = re.split(r"</?main>", page)
    assert ("Best configurations" in main_part) == bool(trials)
    assert ("Predictions" in main_part) == bool(predictions)
    assert "Failures" in main_part
    assert "<section" not in before + after


def test_failures_are_told_with_their_trials(tmp_path: Path) -> None:
    events = [SEARCH, *(begun(k, {}) for k in range(3)), *(result(k, 1, None, 0, "no luck") for k in (0, 2))]
    write_results(tmp_path, events)
    (tmp_path / "trials" / "0000").mkdir(parents=True)
    (tmp_path / "trials" / "0000" / "error.txt").write_text("Traceback\n  here <i>\nno luck\n")
    page = report(tmp_path)
    assert "2 trials have failed." in page
    assert "Trials 0000, 0002." in page
    assert "  here &lt;i&gt;\nno luck" in page


def test_importance_says_plainly_that_there_are_too_few_trials(tmp_path: Path) -> None:
    events = [SEARCH, begun(0, {"lr": 0.1}), begun(1, {"lr": 0.2}), result(0, 1, -1.0), result(1, 1, -2.0)]
    page = text(report(write_results(tmp_path, events)))
    assert "It cannot be told: 2 trials have a reward, and it takes 15 at least." in page


def test_importance_names_the_hyperparameters_and_their_interactions(tmp_path: Path) -> None:
    page = report(big_search(tmp_path, 60))
    shares = re.findall(r'<th scope="row">([^<]+)</th><td class="number">(\d+) %', page)
    assert shares[0][0] == "lr"  # of which the rewards of the toy depend most
    assert "weight_decay" in dict(shares)
    assert "<em>interactions</em>" in page


def test_test_result_and_baselines_are_shown(tmp_path: Path) -> None:
    write_results(tmp_path, [SEARCH])
    assert "Test result" not in report(tmp_path)
    (tmp_path / "test_result.json").write_text('{"mse": 0.123456789, "auroc": null}')
    (tmp_path / "baselines.json").write_text('{"missing": "no sequences"}')
    page = text(report(tmp_path))
    assert re.search(r"mse\s+0\.12346\s+auroc\s+undefined", page)
    assert re.search(r"missing\s+no sequences", page)


def test_headings_go_down_a_step_at_a_time(tmp_path: Path) -> None:
    path = big_search(tmp_path, 30, max_epochs=9)
    (path / "test_result.json").write_text('{"mse": 1}')
    levels = [int(level) for level in re.findall(r"<h(\d)", re.sub(r"<script.*?</script>", "", report(path)))]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in zip(levels, levels[1:], strict=False))


def test_what_is_no_result_directory_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "missing")]) == 2
    assert capsys.readouterr().err.startswith(f"error: there is no directory {tmp_path}/missing")
    assert main([str(tmp_path)]) == 2
    assert "is no result directory" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_results(tmp_path, [SEARCH])
    (tmp_path / "run.json").write_text("{")
    assert main([str(tmp_path)]) == 1
    assert f"error: {tmp_path}/run.json is not JSON" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_it_is_run_as_a_module(tmp_path: Path) -> None:
    write_results(tmp_path, [SEARCH, begun(0, {"lr": 0.1})])
    command = [sys.executable, "-W", "error", "-m", "helixband.report", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"written to {tmp_path / 'report.html'}\n"
    assert (tmp_path / "report.html").exists()


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom helixband.report.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print(*sys.modules, sep='\\n', file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--export" in done.stdout
    assert not set(done.stderr.split()) & {"torch", "numpy", "scipy", "sklearn", "matplotlib", "optuna"}


def test_pictures_of_examples_are_drawn(tmp_path: Path) -> None:
    write_results(tmp_path, [SEARCH, begun(0, {"lr": 0.1}), result(0, 1, 0.5)])
    values = [[1.0, 1.0, -0.3, np.nan], [0.0, 0.0, 0.0, 0.0]]
    written = Picture(values, [["A", "<", "C", "G"], ["", "", "", "T"]], ["given", "true & all"])
    write_pictures(tmp_path / "test_pictures.npz", {"one <b>": written, "bare": Picture(np.eye(3))})
    page = report(tmp_path)
    assert "<h3>one &lt;b&gt;</h3>" in page and "true &amp; all</text>" in page
    [first, second] = re.findall(r'<svg class="cells".*?</svg>', page)
    # Equal cells side by side are one, and a cell that is none has neither shade nor text.
    assert re.findall(r'class="(above|below) shade-(\d)" d="([^"]*)"', first)[1][:2] == ("above", "6")
    assert re.findall(r'class="below shade-2" d="M[\d.]+ 2.0h12.0v18.0', first)
    assert re.findall(r'class="above shade-6" d="M[\d.]+ 2.0h24.0v18.0', first)
    assert re.findall(r'class="letter"[^>]*>([^<]*)<', first) == ["A", "&lt;", "C", "T"]
    assert second.count("h9.0v9.0") == 3 and "<text" not in second


def test_without_pictures_there_is_no_section(tmp_path: Path) -> None:
    write_results(tmp_path, [SEARCH, begun(0, {"lr": 0.1}), result(0, 1, 0.5)])
    assert 'id="pictures"' not in report(tmp_path)
