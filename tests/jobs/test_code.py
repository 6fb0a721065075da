"""The code of a job, as it is packed."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from helixband.errors import UsageError
from helixband.jobs import code
from helixband.jobs.code import Code, pack_code


def names(packed: Code) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(packed.archive)) as tar:
        assert packed.files == tuple(tar.getnames())
        return tar.getnames()


def fill(folder: Path, *files: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder / "def.py"


def git(folder: Path, *argv: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@x", *argv]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_without_git_the_python_files_are_packed(tmp_path: Path) -> None:
    made = fill(tmp_path, "def.py", "a/b.py", "data.h5", ".hidden/c.py", "env/pyvenv.cfg", "env/d.py")
    packed = pack_code(made)
    assert names(packed) == ["a/b.py", "def.py"]
    assert packed.facts() == {"digest": packed.digest, "commit": None, "changed": False}


def test_with_git_what_it_tracks_is_packed_as_it_is_on_the_disk(tmp_path: Path) -> None:
    made = (
        fill(tmp_path, "x/def.py", "x/table.tsv", "x/gone.py", "other.py", ".gitignore").parent / "x/def.py"
    )
    made = tmp_path / "x" / "def.py"
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "1")
    first = pack_code(made)
    assert names(first) == ["def.py", "gone.py", "table.tsv"]
    assert (first.commit, first.changed) == (git(tmp_path, "rev-parse", "HEAD").strip(), False)
    fill(tmp_path, "x/new.py", "x/ignored.py", "x/new.h5")
    (tmp_path / "x" / "gone.py").unlink()
    (tmp_path / "x" / "table.tsv").write_text("changed")
    second = pack_code(made)
    assert names(second) == ["def.py", "new.py", "table.tsv"]
    assert second.changed
    assert second.digest != first.digest


@pytest.mark.parametrize("with_git", [False, True])
def test_what_jobs_and_runs_have_written_is_no_code(with_git: bool, tmp_path: Path) -> None:
    """A result directory has a copy of the definition."""
    made = fill(tmp_path, "def.py", "out/helper.py")
    if with_git:
        git(tmp_path, "init", "-q")
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-qm", "1")
    before = pack_code(made)
    fill(tmp_path, "out/def/first/version_1/job.json", "out/def/first/version_1/results/def.py")
    fill(tmp_path, "results/run.json", "results/def.py", "results/debug/def.py")
    assert pack_code(made) == before
    assert names(before) == ["def.py", "out/helper.py"] and not before.changed
    fill(tmp_path, "new.py")
    assert names(pack_code(made)) == ["def.py", "new.py", "out/helper.py"]
    assert pack_code(made).changed == with_git


def test_the_code_of_submodules_goes_along(tmp_path: Path) -> None:
    for name in ("library", "experiment"):
        fill(tmp_path / name, "def.py", "data.txt")
        git(tmp_path / name, "init", "-q")
        git(tmp_path / name, "add", ".")
        git(tmp_path / name, "commit", "-qm", "1")
    add = ["submodule", "--quiet", "add", str(tmp_path / "library"), "lib"]
    git(tmp_path / "experiment", "-c", "protocol.file.allow=always", *add)
    packed = pack_code(tmp_path / "experiment" / "def.py")
    assert names(packed) == [".gitmodules", "data.txt", "def.py", "lib/data.txt", "lib/def.py"]


def test_equal_files_give_an_equal_archive_and_digest(tmp_path: Path) -> None:
    one, two = (pack_code(fill(tmp_path / name, "def.py", "a.py")) for name in "xy")
    assert (one.archive, one.digest) == (two.archive, two.digest)
    (tmp_path / "y" / "a.py").chmod(0o755)
    assert pack_code(tmp_path / "y" / "def.py").digest != one.digest


def test_other_files_can_go_along(tmp_path: Path) -> None:
    assert names(pack_code(fill(tmp_path, "def.py", "fixed.json"), ["fixed.json"])) == [
        "def.py",
        "fixed.json",
    ]


def test_no_definition_and_too_much_code_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=f"--model {tmp_path}/def.py: there is no such file"):
        pack_code(tmp_path / "def.py")
    with pytest.raises(
        UsageError, match=f"{tmp_path}/more.txt: there is no such file, and a job is to have it"
    ):
        pack_code(fill(tmp_path, "def.py"), ["more.txt"])
    monkeypatch.setattr(code, "LARGEST", 3)
    with pytest.raises(UsageError, match="have more than 0 MB"):
        pack_code(fill(tmp_path, "def.py"))
