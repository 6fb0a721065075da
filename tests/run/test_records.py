"""Records of predictions: one beside the outputs of each input, stored in lots, right after any kill."""

import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Project

from helixband.errors import StorageError
from helixband.files import read_document, write_document, write_whole
from helixband.report.__main__ import main as report
from helixband.results.directory import Results
from helixband.run import records
from helixband.run.records import Record, Records
from helixband.run.runfile import RunFile

FIRST = {"weights": "first", "suffixes": [".npy", ".std.npy"]}
OTHER = {"weights": "other", "suffixes": [".npy", ".tsv"]}


class Killed(BaseException):
    """As a kill does, it passes everything that handles errors."""


def predict(path: Path, facts: dict[str, Any], names: str | list[str] = "ab") -> list[str]:
    """What a run does with inputs of these names; those that it found to be undone."""
    results = Results(path)
    found, undone = Records(results, RunFile(results)), []
    for name in names:
        with found.filling():
            record = Record(found, results, name, facts)
            if record.has(["npy"]):
                continue
            undone.append(name)
            files = [results.prediction(name, suffix) for suffix in facts["suffixes"]]
            record.begin(files)
            for file in files:
                write_whole(file, facts["weights"])
            record.finish(["npy"], files)
    found.store()
    return undone


def outputs(path: Path) -> dict[str, str]:
    files = [file for file in (path / "predictions").iterdir() if not file.name.endswith(".record.json")]
    return {file.name: file.read_text() for file in files}


def kill_at(
    moment: int, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...] = ("replace", "fsync", "unlink")
) -> None:
    """Have the call number `moment` that changes something on the disk be the last one."""
    calls = itertools.count()

    def until(call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*arguments: Any, **options: Any) -> Any:
            if next(calls) >= moment:
                raise Killed
            return call(*arguments, **options)

        return made

    for name in names:
        monkeypatch.setattr(os, name, until(getattr(os, name)))


def test_no_record_says_too_much_after_a_kill_at_any_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = True
    for moment in itertools.count():
        path = tmp_path / str(moment)
        predict(path, FIRST)
        with monkeypatch.context() as patched:
            kill_at(moment, patched)
            try:
                predict(path, OTHER)
                killed = False
            except Killed:
                pass
        if not killed:
            break

        there = outputs(path)
        for record in (path / "predictions").glob("*.record.json"):
            document = read_document(record)
            done = {Path(name).name for name in document["outputs"]}
            if document["formats"] and done <= there.keys():
                assert {there[name] for name in done} == {document["facts"]["weights"]}

        predict(path, OTHER)
        assert outputs(path) == dict.fromkeys(["a.npy", "a.tsv", "b.npy", "b.tsv"], "other")
        assert predict(path, OTHER) == []
    assert moment > 10


def test_outputs_are_on_the_disk_before_a_record_says_that_they_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def fsync(file: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{file}"))
        done = path.name.endswith(".record.json") and bool(read_document(path)["formats"])
        synced.append(path.name + " done" * done)

    monkeypatch.setattr(os, "fsync", fsync)
    predict(tmp_path, FIRST)

    places = {name: place for place, name in enumerate(synced)}
    for name in "ab":
        assert max(places[f"{name}.npy"], places[f"{name}.std.npy"]) < places[f"{name}.record.json done"]


def test_a_record_is_stored_when_its_lot_is_full_or_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def done_of(lot_inputs: int, lot_seconds: float, path: Path) -> int:
        monkeypatch.setattr(records, "LOT_INPUTS", lot_inputs)
        monkeypatch.setattr(records, "LOT_SECONDS", lot_seconds)
        monkeypatch.setattr(Records, "store", counted(Records.store))
        stored.clear()
        predict(path, FIRST, names="abcd")
        return len(stored)

    stored: list[int] = []

    def counted(store: Callable[[Records], None]) -> Callable[[Records], None]:
        return lambda self: (stored.append(1), original(self))[1]

    original = Records.store
    assert done_of(9, 9.0, tmp_path / "one") == 1
    assert done_of(2, 9.0, tmp_path / "full") == 3
    assert done_of(9, 0.0, tmp_path / "old") == 5


def test_what_an_earlier_version_kept_in_run_json_counts_and_is_moved(tmp_path: Path) -> None:
    predict(tmp_path, FIRST, names="abc")
    stages = {}
    for name in "abc":
        record = tmp_path / f"predictions/{name}.record.json"
        stages[f"predict {name}"] = read_document(record)
        record.unlink()
    write_document(tmp_path / "run.json", {"stages": {"evaluate": {}, **stages}})

    assert predict(tmp_path, FIRST, names="abc") == []
    assert read_document(tmp_path / "run.json")["stages"].keys() == {"evaluate", *stages}

    assert predict(tmp_path, OTHER, names="b") == ["b"]
    assert read_document(tmp_path / "run.json")["stages"].keys() == {"evaluate"}
    assert predict(tmp_path, FIRST, names="ac") == []
    assert predict(tmp_path, OTHER, names="b") == []


def test_an_empty_record_which_a_crash_can_leave_is_none(tmp_path: Path) -> None:
    predict(tmp_path, FIRST)
    (tmp_path / "predictions/a.record.json").write_text("")
    assert predict(tmp_path, FIRST) == ["a"]


def test_a_damaged_record_is_named(project: Project) -> None:
    assert project.run("--epoch", "1", "--predict", "x.fa").code == 0
    record = project.results / "predictions/x.fa.record.json"
    document = json.loads(record.read_text())
    assert document["outputs"] == ["predictions/x.fa.npy", "predictions/x.fa.tsv"]
    record.write_text(json.dumps(document | {"formats": ["h5", "npy"]}))

    refused = project.run("--predict", "x.fa")

    assert refused.code == 1
    assert refused.err.startswith(f"error: {record} is not as it was written")
    assert "the input x.fa is predicted again" in refused.err
    record.unlink()
    assert project.run("--predict", "x.fa").code == 0


def test_predictions_leave_run_json_as_it_is(project: Project) -> None:
    project.run("--epoch", "1")
    before = project.read("run.json")
    assert project.run("--predict", "x.fa").code == 0
    assert project.read("run.json") == before


def test_what_a_prediction_reads_from_the_environment_is_recorded(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCALE", "2")
    project.define(
        "\n_pred = get_pred_generator\n\n\ndef get_pred_generator(pred_path):\n"
        "    env('SCALE', 1, int)\n    return _pred(pred_path)\n"
    )
    project.run("--epoch", "1", "--predict", "x.fa")
    assert project.json("run.json")["environment"] == {"SCALE": "2"}


def test_a_disk_error_of_a_lot_is_told_and_nothing_counts_as_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched, pytest.raises(StorageError, match="cannot write .*Input/output"):
        patched.setattr(os, "fsync", fail)
        predict(tmp_path, FIRST)
    assert predict(tmp_path, FIRST) == ["a", "b"]


def test_what_a_killed_run_began_is_not_removed_once_it_is_of_another_input(
    tmp_path: Path,
) -> None:
    results = Results(tmp_path)
    spread = results.prediction("x", ".std.npy")
    killed = Record(Records(results, RunFile(results)), results, "x", {"mc_dropout": 2})
    killed.begin([results.prediction("x", ".npy"), spread])

    assert predict(tmp_path, {"weights": "first", "suffixes": [".npy"]}, names=["x.std"]) == ["x.std"]
    assert predict(tmp_path, {"weights": "first", "suffixes": [".npy"]}, names=["x"]) == ["x"]

    assert outputs(tmp_path) == {"x.npy": "first", "x.std.npy": "first"}
    assert predict(tmp_path, {"weights": "first", "suffixes": [".npy"]}, names=["x.std", "x"]) == []


def test_files_that_an_output_would_have_to_share_its_place_with_are_told_before_any_work(
    project: Project,
) -> None:
    (project.data / "a").write_text(">one\nACGT\n")
    (project.data / "a.npy").mkdir()
    (project.data / "a.npy/b").write_text(">one\nACGT\n")
    for inputs in (("a", "a.npy/b"), ("a.npy/b", "a")):
        refused = project.run("--epoch", "1", "--predict", *inputs)
        assert refused.code == 2
        assert f"{project.data}/a.npy/b would be written to a.npy, which is the output of" in refused.err
        assert not (project.results / "trials").exists()

    for first, second, what in (
        ("a", "a.npy/b", "a file"),
        ("a.npy/b", "a", "a folder"),
    ):
        assert project.run("--epoch", "1", "--predict", first).code == 0
        refused = project.run("--predict", second)
        assert refused.code == 2
        assert f"would be written to {project.results}/predictions/a.npy, which is {what}" in refused.err
        project.clear()


@pytest.mark.parametrize("key", ["a/b", "../../evil", "a\0b", "x" * 300])
def test_a_part_whose_name_no_file_can_have_is_told_before_any_work(project: Project, key: str) -> None:
    project.define(f"""

class Model(BaseModel):
    def init_model(self):
        network = nn.Linear(3, 1)
        super().init_model(network, nn.MSELoss(), optim.Adam(network.parameters(), 0.01))

    def split_output(self, output):
        output = output[:, 0]
        return {{"y_pred": {{{key!r}: output, "b": output}}, "y_pred_loss": output}}

    def get_hyperband_reward(self, result):
        return -result["val_loss"]
""")
    refused = project.run("--epoch", "1", "--predict", "x.fa")
    assert (refused.code, "y_pred has a part of the name " in refused.err) == (2, True)
    assert not (project.results / "trials/single/checkpoints").exists()
    assert list(project.path.rglob("*.npy")) == []


OTHER_TEST = """
from pathlib import Path


def get_test_generator(data_dir):
    return MatrixBatchGenerator(*table(int(Path(data_dir, "seed").read_text()), 20))
"""


def test_an_evaluation_of_other_data_goes_on_after_a_kill_at_any_moment(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.define(OTHER_TEST)
    evaluate = ("--eval", "--no-data-check")

    def test_set(seed: int) -> None:
        (project.data / "seed").write_text(str(seed))
        (project.results / "test_result.json").unlink(missing_ok=True)

    test_set(2)
    project.run("--train", "--epoch", "1", *evaluate)
    scores = [project.json("test_result.json")]
    test_set(3)
    project.run(*evaluate)
    scores.append(project.json("test_result.json"))
    for moment in itertools.count():
        number = moment % 2
        test_set(2 + number)
        with monkeypatch.context() as patched:
            kill_at(moment, patched, ("replace",))
            try:
                project.run(*evaluate)
                break
            except Killed:
                pass
        assert report([str(project.results)]) == 0
        again = project.run(*evaluate)
        assert (again.code, again.err) == (0, "")
        assert project.json("test_result.json") == scores[number]
    assert moment >= 5
    assert scores[0] != scores[1]
