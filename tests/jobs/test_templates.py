"""Templates of job scripts, and what of a job comes into one."""

import re
import subprocess
from pathlib import Path

import pytest
from jobs_toys import command, shell, slurm

from helixband.errors import StorageError, UsageError
from helixband.jobs import Jobs, Shell, Slurm
from helixband.jobs.templates import fill

NEEDED = "{folder} {argv} {results} {data}"


def values(**more: str) -> dict[str, str]:
    return {"folder": "f", "argv": "a", "results": "r", "data": "d", "setup": "module load x", **more}


def test_values_are_quoted_but_for_code(tmp_path: Path) -> None:
    (tmp_path / "t.sh").write_text(f"#!/bin/sh\n{NEEDED} {{setup}} ${{{{HOME}}}}\n")
    filled = fill(tmp_path / "t.sh", values(data="a b", folder="it's; $x"))
    assert filled == "#!/bin/sh\n'it'\"'\"'s; $x' a r 'a b' module load x ${HOME}\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"#!/bin/sh\n{NEEDED}\n{{dato}}\n", r"t.sh, line 3: {dato} is no field; did you mean {data}\?"),
        (
            f"#!/bin/sh\n{NEEDED}\necho ${{HOME}}\n",
            "t.sh, line 3: {HOME} is no field; the fields are argv, data",
        ),
        (f"#!/bin/sh\n{NEEDED}\nf() {{\n", "t.sh, line 3: 'f[(][)] {' has a stray brace .*written twice"),
        (f"#!/bin/sh\n{NEEDED}\n}}\n", "t.sh, line 3: '}' has a stray brace"),
        (f"#!/bin/sh\n{NEEDED}\n{{data!r}}\n", "t.sh, line 3: write {data} alone"),
        (f"#!/bin/sh\n{NEEDED}\n{{data:>9}}\n", "t.sh, line 3: write {data} alone"),
        (f"#!/bin/sh\n{NEEDED}\n{{data.x}}\n", "t.sh, line 3: {data.x} is no field"),
        (f"#!/bin/sh\n{NEEDED}\n{{}}\n", "t.sh, line 3: {} is no field"),
        ("#!/bin/sh\n{folder} {results} {data}\n", "t.sh has no field {argv}"),
        (f"{NEEDED}\n", "t.sh, line 1: a script begins with"),
        (f"\n#!/bin/sh\n{NEEDED}\n", "t.sh, line 1: a script begins with"),
    ],
)
def test_a_wrong_template_is_told_with_file_and_line(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "t.sh").write_text(text)
    with pytest.raises(UsageError, match=told):
        fill(tmp_path / "t.sh", values())


def test_a_template_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="none.sh: .*No such file"):
        fill(tmp_path / "none.sh", values())


def test_a_template_of_the_users_may_have_fields_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "t.sh").write_text(f"#!/bin/sh\n{NEEDED}\nmail {{to}}\n")
    scheduler = Shell(template=str(tmp_path / "t.sh"), fields={"to": "me; rm x"})
    script = Jobs(scheduler=scheduler).script(command(tmp_path))
    assert script.endswith("\nmail 'me; rm x'\n")
    numbered = Shell(template=str(tmp_path / "t.sh"), fields={"to": 3})  # type: ignore[dict-item]
    assert Jobs(scheduler=numbered).script(command(tmp_path)).endswith("\nmail 3\n")
    with pytest.raises(UsageError, match="data is a field of every template"):
        Jobs(scheduler=Shell(fields={"data": "x"})).script(command(tmp_path))


@pytest.mark.parametrize(
    "word", ["a b", "it's", '"', "$(touch hacked)", "`touch hacked`", "; touch hacked", "two\nlines", "*"]
)
def test_words_are_never_code(word: str, tmp_path: Path) -> None:
    jobs = Jobs(scheduler=slurm(tmp_path, account="a b;$(touch hacked)"))
    script = jobs.script(command(tmp_path, "first", "--set", f"x={word}"))
    line = script[script.index("set -- ") :].split("\nfor word")[0]
    said = subprocess.run(
        ["bash", "-c", f"{line}\nprintf '%s\\0' \"$@\""],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split("\0")[-2] == f"x={word}"
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert not (tmp_path / "hacked").exists()


def test_the_script_of_slurm_is_a_pure_function_of_its_settings(tmp_path: Path) -> None:
    scheduler = Slurm(
        partition="gpu",
        time="4:00:00",
        gpus=2,
        memory="16G",
        requeue=False,
        more={"exclusive": True, "nice": 5},
    )
    jobs = Jobs("/out", scheduler=scheduler)
    first = command(tmp_path, "v1/lr=1.00E-03")
    lines = [line for line in jobs.script(first).splitlines() if line.startswith("#SBATCH")]
    assert lines == [
        "#SBATCH --job-name=v1/lr=1.00E-03_version_1",
        "#SBATCH --chdir=/out/def/v1/lr=1.00E-03/version_1",
        "#SBATCH --output=job.out",
        "#SBATCH --error=job.err",
        "#SBATCH --open-mode=append",
        "#SBATCH --no-requeue",
        "#SBATCH --signal=B:USR1@120",
        "#SBATCH --partition=gpu",
        "#SBATCH --time=4:00:00",
        "#SBATCH --gpus=2",
        "#SBATCH --mem=16G",
        "#SBATCH --exclusive",
        "#SBATCH --nice=5",
    ]
    assert jobs.script(first) == jobs.script(first)


@pytest.mark.parametrize(
    "settings",
    [
        {"partition": "gpu\n#SBATCH --uid=0"},
        {"account": "a\tb"},
        {"more": {"mail type": "x"}},
        {"more": {"a": "\0"}},
    ],
)
def test_a_directive_with_a_control_character_is_refused(settings: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no option for sbatch"):
        Jobs(scheduler=Slurm(**settings)).script(command(tmp_path))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["output", "--job-name", "array", "requeue", "partition", "chdir"])
def test_options_that_jobs_rely_on_are_not_set_otherwise(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"more: {name.strip('-')} is set by jobs themselves"):
        Jobs(scheduler=Slurm(more={name: "x"})).script(command(tmp_path))


@pytest.mark.parametrize("time", ["3", "3:00", "0:02:59", "0-0:03"])
def test_a_time_that_ends_with_its_signal_is_refused(time: str, tmp_path: Path) -> None:
    """Such a job would be put into the queue again and again, and never get anywhere."""
    with pytest.raises(UsageError, match=f"time={time}: a run is ended 120 s before the limit"):
        Jobs(scheduler=Slurm(time=time)).script(command(tmp_path))
    for more in ("4", "3:01", "1-0", "UNLIMITED"):
        assert f"--time={more}\n" in Jobs(scheduler=Slurm(time=more)).script(command(tmp_path))


@pytest.mark.parametrize("name", ["100%j", "a\\b"])
def test_a_path_that_slurm_would_read_as_a_pattern_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"has a {re.escape(name.strip('abj10'))}, which Slurm reads"):
        Jobs(scheduler=Slurm()).script(command(tmp_path, name))
    Jobs(scheduler=shell(tmp_path)).script(command(tmp_path, name))


def test_a_wrong_way_for_the_data_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="stage='move': data can be staged by link, copy, extract"):
        Jobs(scheduler=Shell(stage="move")).script(command(tmp_path))
