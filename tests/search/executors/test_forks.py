"""Processes that are forks of one interpreter: how they begin, and what is told of how they end."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helixband.search.executors import forks as module
from helixband.search.executors.forks import Forked, Forks

INTERPRETER = """
import os, signal, sys, time
from helixband.search.executors.forks import serve

IMPORTS

def run(words, files):
    sys.stdout.reconfigure(errors="backslashreplace")
    print(*words, os.getppid(), os.getsid(0) == os.getpid())
    asked = sys.stdin.readline().strip()
    if asked == "raise":
        raise ValueError("a reason")
    if asked.startswith("signal"):
        os.kill(os.getpid(), int(asked.split()[1]))
    os.write(files[0], b"written")
    return int(asked or 0)

serve(int(sys.argv[1]), run)
"""


class Started:
    """A process with the ends of its pipes that are not its own."""

    def __init__(self, forks: Forks, imports: str = "", word: str = "word") -> None:
        given, self.asks = os.pipe()
        self.printed, prints = os.pipe()
        self.written, writes = os.pipe()
        command = [sys.executable, "-c", INTERPRETER.replace("IMPORTS", imports)]
        try:
            self.process = forks.start(
                command, os.getcwd(), dict(os.environ), [word, "ends"], [given, prints, writes]
            )
        finally:
            for end in (given, prints, writes):
                os.close(end)

    def ask(self, what: str) -> int:
        """What it comes to."""
        os.write(self.asks, f"{what}\n".encode())
        return self.process.wait(20)

    def output(self) -> str:
        """What it has printed, once it has ended."""
        return os.read(self.printed, 1 << 16).decode()

    def close(self) -> None:
        self.process.kill_all()
        self.process.close()
        for end in (self.asks, self.printed, self.written):
            os.close(end)


Start = Callable[..., Started]


@pytest.fixture
def forks() -> Forks:
    return Forks()


@pytest.fixture
def start(forks: Forks) -> Iterator[Start]:
    started: list[Started] = []

    def begin(imports: str = "", word: str = "word") -> Started:
        started.append(Started(forks, imports, word))
        return started[-1]

    yield begin
    for each in started:
        each.close()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def interpreter(forks: Forks) -> subprocess.Popen[bytes]:
    assert forks._interpreter is not None
    return forks._interpreter


def test_processes_get_words_and_files_and_tell_their_codes(forks: Forks, start: Start) -> None:
    one, other = start(word="one"), start(word="other")
    assert one.process.pid != other.process.pid
    assert one.process.poll() is None
    assert one.ask("0") == 0 and other.ask("3") == 3
    parent = interpreter(forks).pid
    assert one.output() == f"one ends {parent} True\n" and other.output() == f"other ends {parent} True\n"
    assert os.read(one.written, 100) == os.read(other.written, 100) == b"written"


def test_what_is_imported_is_imported_once_for_all(start: Start, tmp_path: Path) -> None:
    imports = f"open({str(tmp_path / 'imported')!r}, 'a').write('x')"
    started = [start(imports) for _ in range(3)]
    assert [each.ask("0") for each in started] == [0, 0, 0]
    assert (tmp_path / "imported").read_text() == "x"


def test_a_process_that_fails_says_why_and_one_that_is_killed_by_which_signal(start: Start) -> None:
    failed, killed, asked = start(), start(), start()
    assert failed.ask("raise") == 1
    assert failed.output().endswith("ValueError: a reason\n")
    assert killed.ask(f"signal {int(signal.SIGKILL)}") == -signal.SIGKILL
    assert asked.process.pid > 0
    asked.process.terminate()
    assert asked.process.wait(20) == -signal.SIGTERM


def test_a_process_that_has_not_begun_is_ended_without_a_wait(start: Start) -> None:
    began = time.monotonic()
    one, other = start("time.sleep(60)"), start("time.sleep(60)")
    one.process.terminate()
    other.process.kill_all()
    with pytest.raises(subprocess.TimeoutExpired):
        start().process.wait(0.1)
    assert one.process.wait() == -signal.SIGTERM and other.process.wait() == -signal.SIGKILL
    assert one.process.pid == 0
    assert time.monotonic() - began < 10


def test_one_that_was_ended_before_it_began_does_nothing_later(
    forks: Forks, start: Start, tmp_path: Path
) -> None:
    imports = f"time.sleep(0.5)\nopen({str(tmp_path / 'up')!r}, 'w').close()"
    other, one = start(imports), start(imports)
    one.process.terminate()
    until((tmp_path / "up").exists)
    assert other.ask("0") == 0
    assert one.output() == ""


def test_an_interpreter_that_ends_tells_it_of_its_processes(forks: Forks, start: Start) -> None:
    one, other = start("print('no module'); sys.exit(5)"), start()
    assert (one.process.wait(20), other.process.wait(20)) == (5, 5)
    assert forks.printed() == "no module"
    late = start()
    assert late.process.wait(20) == 5 and late.process.pid == 0


def test_an_interpreter_that_is_killed_takes_no_process_with_it_and_each_can_be_ended(
    forks: Forks, start: Start
) -> None:
    one, other = start(), start()
    pids = one.process.pid, other.process.pid
    interpreter(forks).kill()
    with pytest.raises(subprocess.TimeoutExpired):
        one.process.wait(0.3)
    assert all(map(is_there, pids))
    one.process.kill_all()
    assert one.process.returncode == other.ask("0") == -signal.SIGKILL  # nobody knows how they ended
    assert not any(map(is_there, pids))


def test_signals_to_all_are_for_the_processes(forks: Forks, start: Start) -> None:
    one, other = start(), start()
    assert one.process.pid and other.process.pid
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        interpreter(forks).send_signal(number)
    other.process.terminate()
    assert other.process.wait(20) == -signal.SIGTERM
    assert one.ask("4") == 4


def test_an_interpreter_that_is_stopped_makes_nobody_wait_for_ever(
    forks: Forks, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS_TO_END", 0.2)
    one = start()
    pid = one.process.pid
    interpreter(forks).send_signal(signal.SIGSTOP)
    one.process.kill_all()
    assert one.process.returncode == -signal.SIGKILL
    assert not is_there(pid)


def test_a_fork_that_fails_is_told_of_one_process(start: Start) -> None:
    first = start("forks = [os.fork, lambda: os.read(-1, 1)]\nos.fork = lambda: forks.pop(0)()")
    second = start()
    assert second.process.wait(20) == 1
    assert second.output() == "cannot fork a process: [Errno 9] Bad file descriptor\n"
    assert first.ask("0") == 0


def test_many_open_files_make_no_wait_busy(start: Start) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    opened = [os.open("/proc/self/stat", os.O_RDONLY) for _ in range(1100)]
    try:
        started = start()
        before = time.process_time()
        with pytest.raises(subprocess.TimeoutExpired):
            started.process.wait(0.5)
        assert time.process_time() - before < 0.2
    finally:
        for each in opened:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_interpreter_ends_with_the_last_process_and_leaves_no_file_open(forks: Forks) -> None:
    before = os.listdir("/proc/self/fd")
    one, other = Started(forks), Started(forks)
    assert one.ask("0") == 0
    one.close()
    assert interpreter(forks).poll() is None
    other.close()
    other.process.close()
    assert interpreter(forks).poll() is not None
    assert os.listdir("/proc/self/fd") == before


def test_an_interpreter_that_cannot_start_is_an_error_of_the_system(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        Forks().start([sys.executable], str(tmp_path / "nowhere"), {}, [], [0, 1])
    assert os.listdir("/proc/self/fd") == before


def test_the_interpreter_and_its_processes_end_with_who_asked_for_them() -> None:
    """As where that is killed, so that each has to see by itself that nobody asks any more."""
    script = f"""
import os, sys, time
sys.path[:0] = {sys.path!r}
from test_forks import Started
from helixband.search.executors.forks import Forks
forks = Forks()
started = Started(forks)
print(started.process.pid, forks._interpreter.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert all(map(is_there, pids))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not any(map(is_there, pids)))


def test_a_process_is_as_one_of_subprocess_for_its_caller(start: Start) -> None:
    started = start()
    found: Forked = started.process
    assert found.returncode is None
    with pytest.raises(subprocess.TimeoutExpired, match="timed out after 0.05 seconds"):
        found.wait(0.05)
    assert started.ask("7") == found.returncode == found.poll() == found.wait() == 7
    found.terminate()
    found.kill_all()
    assert found.returncode == 7
