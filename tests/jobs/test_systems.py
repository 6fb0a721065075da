"""What a machine does: this one, and one behind SSH, held to the same."""

import os
import re
import resource
import shlex
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from jobs_toys import SSH_CONFIG, SSH_HOST, needs_ssh, ssh

from helixband.errors import HelixbandError, StorageError, UsageError
from helixband.jobs import Done, LocalOs, Os, SshOs
from helixband.jobs.machine import __file__ as machine_file
from helixband.jobs.machine import pack

HERE = pytest.param("here", id="here")
BEHIND_SSH = pytest.param("ssh", id="ssh", marks=needs_ssh)


@pytest.fixture(params=[HERE, BEHIND_SSH])
def machine(request: pytest.FixtureRequest) -> Os:
    return LocalOs() if request.param == "here" else ssh()


def test_a_program_gets_its_words_and_input_as_they_are(machine: Os) -> None:
    words = ["a b", "c'd\"e", "$HOME;`x`", "two\nlines", "", "é"]
    done = machine.run(
        [sys.executable, "-c", "import sys; print(sys.argv[1:], sys.stdin.read())", *words], b"in"
    )
    assert done == Done(0, f"{words} in\n", "")


def test_the_exit_code_and_errors_of_a_program_are_told(machine: Os) -> None:
    assert machine.run(["sh", "-c", "echo no >&2; exit 3"]) == Done(3, "", "no")
    assert machine.run(["no-such-program"]) == Done(127, "", "no-such-program: not found")


def test_files_are_read_whole_or_at_their_end(machine: Os, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\0\xff0123456789")
    os.utime(tmp_path / "a", (1000.5, 1000.5))
    paths = [str(tmp_path / name) for name in ("a", "missing", "a/b")]
    assert machine.read(paths) == {paths[0]: (1000.5, b"\0\xff0123456789")}
    assert machine.read(paths, tail=3) == {paths[0]: (1000.5, b"789")}


def test_what_is_no_file_is_left_out_and_makes_nobody_wait(machine: Os, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert machine.read([str(tmp_path / "pipe"), str(tmp_path)]) == {}


def test_files_are_written_with_their_folders(machine: Os, tmp_path: Path) -> None:
    files = {f"{tmp_path}/a b/c": b"1", f"{tmp_path}/d": b"\0" * 100_000, f"{tmp_path}/e": b"\0" * 100_000}
    assert machine.write(files) == []
    assert machine.write({f"{tmp_path}/e": b"2"}) == []
    found = {
        path.relative_to(tmp_path).as_posix(): path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert found == {"a b/c": b"1", "d": b"\0" * 100_000, "e": b"2"}


def test_an_exclusive_write_replaces_nothing_and_says_what_was_there(machine: Os, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    files = {f"{tmp_path}/{name}": b"new" for name in "ab"}
    assert machine.write(files, exclusive=True) == [f"{tmp_path}/a"]
    assert machine.write(files, exclusive=True) == [f"{tmp_path}/a"]  # again, as after a lost answer
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()) == (b"old", b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_folder_is_copied_here_with_its_links(machine: Os, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_text("1")
    (tmp_path / "a" / "best").symlink_to("b")
    for _ in range(2):  # over what is there
        machine.copy(str(tmp_path / "a"), tmp_path / "to")
    assert (tmp_path / "to" / "b" / "c").read_text() == "1"
    assert os.readlink(tmp_path / "to" / "best") == "b"


def test_what_cannot_be_read_or_written_is_told_by_its_path(machine: Os, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=f"{tmp_path}/file"):
        machine.write({f"{tmp_path}/file/x": b""})
    with pytest.raises(StorageError, match=f"{tmp_path}/none"):
        machine.copy(f"{tmp_path}/none", tmp_path / "to")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StorageError, match=f"cannot write {tmp_path}/a: File too large"):
            LocalOs().write({f"{tmp_path}/a": b"x" * 2000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


def fake_ssh(folder: Path, monkeypatch: pytest.MonkeyPatch, lines: str) -> None:
    """Have `ssh` be a script of these lines, which may run what it is asked to, by: there."""
    script = folder / "ssh"
    there = 'case "$*" in *" -G "*) exit;; esac\nthere() { eval "${@: -1}"; }\n'
    script.write_text(f"#!/bin/bash\ncd {folder}\n{there}{lines}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr("helixband.jobs.ssh.SECONDS_BETWEEN_TRIES", 0.0)


def test_a_lost_connection_is_tried_again_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = "echo x >> tries; [ $(wc -l < tries) = 3 ] || { echo 'Connection reset by peer' >&2; exit 255; }"
    fake_ssh(tmp_path, monkeypatch, f'{lost}\nthere "$@"')
    said: list[str] = []
    (tmp_path / "a").write_bytes(b"1")
    read = SshOs("login", sys.executable, say=said.append).read([f"{tmp_path}/a"])
    assert [content for _, content in read.values()] == [b"1"]
    assert said == ["the connection to login was lost (Connection reset by peer); trying again"] * 2


def test_a_connection_that_stays_away_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_ssh(
        tmp_path, monkeypatch, "echo 'ssh: connect to host login port 22: Connection refused' >&2; exit 255"
    )
    with pytest.raises(StorageError, match="no connection to login in 3 tries: .*Connection refused"):
        SshOs("login", say=lambda text: None).run(["true"])


def test_a_program_is_not_run_twice_where_its_answer_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_ssh(tmp_path, monkeypatch, 'there "$@" > /dev/null; echo "client_loop: Broken pipe" >&2; exit 255')
    with pytest.raises(StorageError, match="(?s)lost .*Broken pipe.* whether that was done is not known"):
        SshOs("login", sys.executable).run(["sh", "-c", f"echo x >> {tmp_path}/ran"])
    assert (tmp_path / "ran").read_text() == "x\n"


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("@@@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @@@", "ssh-keygen -R login"),
        ("Host key verification failed.", "connect once by hand: ssh login"),
        ("me@login: Permission denied (publickey,password).", "try by hand: ssh login"),
        ("Can't open user config file /none: No such file or directory", "the configuration is wrong"),
        ("ssh: Could not resolve hostname login: Name or service not known", "see Host in ~/.ssh/config"),
    ],
)
def test_what_another_try_does_not_change_is_told_at_once(
    words: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_ssh(tmp_path, monkeypatch, f"echo x >> tries; echo {shlex.quote(words)} >&2; exit 255")
    with pytest.raises(HelixbandError, match=f"(?s){re.escape(words)}.*{re.escape(advice)}"):
        SshOs("login").run(["true"])
    assert (tmp_path / "tries").read_text() == "x\n"


def test_a_host_without_the_python_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_ssh(tmp_path, monkeypatch, 'there "$@"')
    with pytest.raises(HelixbandError, match="no-python does not answer there .*ssh_python in jobs.toml"):
        SshOs("login", python="/no-python").run(["true"])


def test_what_a_login_shell_prints_is_no_part_of_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_ssh(tmp_path, monkeypatch, 'echo "Welcome to login"; there "$@"')
    assert SshOs("login", sys.executable).run(["echo", "1"]) == Done(0, "1\n", "")


def test_without_ssh_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="no program ssh here"):
        SshOs("login").run(["true"])


def test_a_copy_that_is_cut_off_is_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tarfile takes a stream that ends between two files for a whole one."""
    (tmp_path / "folder").mkdir()
    for name in "abc":
        (tmp_path / "folder" / name).write_text(name)
    program = Path(machine_file).read_text()
    program = program.replace("tar.add(path,", 'path.endswith("b") and open(path + "/x"); tar.add(path,')
    (tmp_path / "machine.py").write_text(program)
    monkeypatch.setattr("helixband.jobs.machine.__file__", str(tmp_path / "machine.py"))
    fake_ssh(tmp_path, monkeypatch, 'there "$@"')
    with pytest.raises(StorageError, match="login: cannot read .*/folder/b: Not a directory"):
        SshOs("login", sys.executable).copy(str(tmp_path / "folder"), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_files_that_are_removed_while_they_are_copied_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("a", "b.tmp", "c"):
        (tmp_path / "folder" / name).write_text(name)

    packed = BytesIO()
    real = os.walk

    def walk(*args: Any, **named: Any) -> Any:
        for found in real(*args, **named):
            (tmp_path / "folder" / "b.tmp").unlink(missing_ok=True)
            yield found

    with pytest.MonkeyPatch.context() as context:
        context.setattr(os, "walk", walk)
        pack(str(tmp_path / "folder"), packed)
    packed.seek(0)
    with tarfile.open(fileobj=packed) as tar:
        assert sorted(tar.getnames()) == [".", "./a", "./c"]


@pytest.mark.parametrize("host", ["", "-oProxyCommand=x", "a b", "a\n"])
def test_a_host_is_no_option_of_ssh(host: str) -> None:
    with pytest.raises(UsageError, match="no name of a host"):
        SshOs(host)


@needs_ssh
def test_a_real_host_refuses_a_stranger_and_a_changed_key(tmp_path: Path) -> None:
    config = Path(SSH_CONFIG).read_text().replace("ControlMaster auto", "ControlMaster no")
    config = re.sub(r"ControlPath .*", "ControlPath none", config)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    key = " ".join((tmp_path / "key.pub").read_text().split()[:2])
    port = re.search(r"Port (\d+)", config)
    (tmp_path / "hosts").write_text(f"[127.0.0.1]:{port[1] if port else 22} {key}\n")
    stranger = re.sub(r"IdentityFile .*", f"IdentityFile {tmp_path}/key", config)
    other_key = re.sub(r"UserKnownHostsFile .*", f"UserKnownHostsFile {tmp_path}/hosts", config)
    for text, told in ((stranger, "Permission denied"), (other_key, "ssh-keygen -R")):
        (tmp_path / "config").write_text(text)
        with pytest.raises(HelixbandError, match=f"(?s)no connection to {SSH_HOST}: .*{told}"):
            SshOs(SSH_HOST, config=str(tmp_path / "config")).run(["true"])
