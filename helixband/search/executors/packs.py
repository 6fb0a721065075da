"""Several trials at a time in each of the processes of this machine: `--pack`."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from helixband import errors
from helixband.errors import HelixbandError
from helixband.search.executors.local import worker_environment
from helixband.search.executors.process import (
    SECONDS_TO_END,
    KilledAtStart,
    Setup,
    TrialProcess,
    WorkerDied,
)
from helixband.search.executors.spawned import Spawned, StartFailed
from helixband.search.executors.task import Outcome, Report, Task


@dataclass(frozen=True)
class _Order:
    task: Task
    on_epoch: Report
    future: "Future[Outcome]" = field(default_factory=Future)


@dataclass(eq=False)
class _Pack:
    """A process, and what it trains by the names of the trials."""

    environment: dict[str, str]
    process: TrialProcess
    orders: dict[str, _Order] = field(default_factory=dict)
    follower: threading.Thread | None = None
    """Listens to the process; a dead one has none."""
    ends: bool = False
    """Whether the process has lost its device, and is about to end."""


class Packs:
    """Trains in processes of this machine, which come up at once, up to `setup.slots` trials in each.

    A process that dies takes its trials with it. Each of them then goes on in a process where nothing else
    runs, until the job is done, so that the one that is guilty is found. What concerns every trial, as a
    process that cannot start, ends all tasks, those to come as well. `say` gets a message for each trial that
    cannot be trained together with others. `gpus`, `threads` and `early` as of `LocalWorkers`.
    """

    def __init__(
        self,
        setup: Setup,
        workers: int,
        gpus: list[str],
        threads: int,
        say: Callable[[str], None],
        early: Sequence[Spawned] = (),
    ) -> None:
        self.capacity = workers * setup.slots
        self._setup, self._say = setup, say
        self._lock = threading.RLock()
        self._waiting: deque[_Order] = deque()
        self._suspects: set[str] = set()
        self._told: set[str] = set()
        self._closing = False
        self._fault: HelixbandError | None = None
        environments = [worker_environment(gpu, threads) for gpu in gpus[:workers]]
        self._packs = [
            _Pack(each, TrialProcess(setup, each, spawned))
            for each, spawned in zip_longest(environments, early)
        ]
        for pack in self._packs:
            self._follow(pack)

    def submit(self, task: Task, on_epoch: Report) -> "Future[Outcome]":
        """Have the task join the process with the fewest, at the end of an epoch there."""
        order = _Order(task, on_epoch)
        with self._lock:
            self._waiting.append(order)
            self._assign()
        return order.future

    def close(self) -> None:
        """End the processes: those that do not within ten seconds, by force. What waits is cancelled."""
        with self._lock:
            self._closing = True
            while self._waiting:
                self._waiting.popleft().future.cancel()
            packs = [(pack.process, pack.follower) for pack in self._packs]
        for process, _ in packs:
            process.terminate()
        until = time.monotonic() + SECONDS_TO_END
        for _, follower in packs:
            if follower is not None:
                follower.join(max(0.0, until - time.monotonic()))
        for process, _ in packs:
            process.close(0)

    def _assign(self) -> None:
        """Give what waits to processes that have room, in the order in which it came."""
        while self._waiting:
            order = self._waiting[0]
            if self._fault is not None:
                self._waiting.popleft().future.set_exception(self._fault)
                continue
            room = 1 if order.task.name in self._suspects else self._setup.slots
            free = [pack for pack in self._packs if not pack.orders.keys() & self._suspects]
            free = [pack for pack in free if len(pack.orders) < room and not pack.ends]
            if not free:
                return
            pack = min(free, key=lambda pack: len(pack.orders))
            self._waiting.popleft()
            if order.future.set_running_or_notify_cancel():
                self._give(pack, order)

    def _give(self, pack: _Pack, order: _Order) -> None:
        try:
            if pack.follower is None:
                pack.process = TrialProcess(self._setup, pack.environment)
                self._follow(pack)
            pack.process.give(order.task)
            pack.orders[order.task.name] = order
        except (WorkerDied, StartFailed) as error:
            order.future.set_exception(error)

    def _follow(self, pack: _Pack) -> None:
        pack.follower = threading.Thread(target=self._listen, args=[pack, pack.process], daemon=True)
        pack.follower.start()

    def _listen(self, pack: _Pack, process: TrialProcess) -> None:
        """In a thread of a process: take what it says, until it ends."""
        error: BaseException | None = None
        try:
            for message in process.said():
                self._hear(pack, message)
        except BaseException as raised:
            error = raised
        with self._lock:
            orders, pack.orders, pack.follower, pack.ends = pack.orders, {}, None, False
        process.close()
        error = error or process.death(orders)
        with self._lock:
            if isinstance(error, HelixbandError):
                self._fault = error
            elif len(orders) > 1 and not isinstance(error, KilledAtStart):
                self._suspects |= orders.keys()
        for order in orders.values():
            order.future.set_exception(error)
        with self._lock:
            if not self._closing:
                self._assign()

    def _hear(self, pack: _Pack, message: dict[str, Any]) -> None:
        """Pass on what a process says; raises the error that concerns all of its trials."""
        if "error" in message:
            raise getattr(errors, message["error"]["type"])(message["error"]["message"])
        if "apart" in message:
            self._say_once(f"  packed: the loss of each trial is computed by itself: {message['apart']}")
            return
        if "shared" in message:
            self._say_once(
                f"  packed: the trials of a process are trained one after another: {message['shared']}"
            )
            return
        if "changes" in message:
            self._say_once(
                f"  packed: training changes {message['changes']}, which all trials of a process have: each "
                "finds what the others left. Keep it in an attribute of the model, or make it when it is used"
            )
            return
        name = message["trial"]
        if "row" in message:
            pack.orders[name].on_epoch(name, message["row"])
        elif "alone" in message:
            if name not in self._told:
                self._told.add(name)
                self._say(f"  trial {name} is trained alone: {message['alone']}")
        else:
            outcome = Outcome(**message["outcome"]) if "outcome" in message else None
            with self._lock:
                order = pack.orders.pop(name)
                self._suspects.discard(name)
                pack.ends = outcome is not None and outcome.has_lost_device
                self._assign()
            if outcome is None:
                order.future.set_exception(WorkerDied(message["superseded"]))
            else:
                order.future.set_result(outcome)

    def _say_once(self, line: str) -> None:
        """Say what several processes find."""
        with self._lock:
            is_new = line not in self._told
            self._told.add(line)
        if is_new:
            self._say(line)
