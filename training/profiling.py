"""Where the time of a run goes: named phases, how busy the machine was, and which phase to look at first.

Code that takes time says what it is doing, ``with profiling.phase("neighbours"): ...``. Without a `Profile` that costs
a tenth of a microsecond; inside ``with Profile() as profile: ...`` it is recorded, and ``profile.table()`` shows it.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Self, TypeVar

Item = TypeVar("Item")

ELSEWHERE = "elsewhere"
"""The time between the phases."""

ADVICE = {
    "data loading": "batches wait for their data: keep them in memory, or raise the number of loader workers",
    "copies": "data moves between host and device: move less often, or keep it where it is used",
    "neighbours": "neighbour lists: a larger skin makes them last longer, at the price of more pairs to look at",
    "forward": "the network itself: fewer channels or layers, faster kernels, or a GPU",
    "backward": "the network's derivatives: fewer channels or layers, faster kernels, or a GPU",
    "network": "the network itself: fewer channels or layers, faster kernels, more systems in a batch, or a GPU",
    "steps": "steps of an optimizer that evaluates the loss as often as it needs: fewer points, or a smaller network",
    "between steps": "bookkeeping around the steps: larger batches dilute it",
    "optimizer": "the optimizer: it costs the same for every batch size, so larger batches dilute it",
    "validation": "validation: a larger validate_every, or fewer validation structures",
    "saving": "saving: a larger checkpoint_seconds, or a faster disk",
    "ASE": "ASE's own bookkeeping: many systems in one batched simulation share it",
    "output": "writing: larger intervals between frames and observables, or another format",
    "integration": "the equations of motion themselves: many systems in one batch share their overhead",
    ELSEWHERE: "nothing that reports to the profile; name it with profiling.phase to see what it is",
}
"""What a user can do about the phase that takes the most time."""


IDLE = 0.7
"""Cores; a process that computes all the time on a machine of its own keeps at least one busy."""


@dataclass
class PhaseTime:
    """Calls of one phase and the seconds spent in it, without the phases inside it."""

    calls: int = 0
    seconds: float = 0.0


class Profile:
    """Records the phases of this thread between its start and its end; use it as a context manager.

    A GPU works on while Python goes ahead, so its work is waited for at every change of phase: shares are right, and
    the whole is somewhat slower than without a profile.

    Args:
        advice: further sentences by phase, added to `ADVICE`.

    Attributes:
        phases: by name.
        seconds: from start to end, or so far.
    """

    def __init__(self, advice: Mapping[str, str] | None = None) -> None:
        self.phases: dict[str, PhaseTime] = {}
        self.seconds = 0.0
        self._advice = {**ADVICE, **(advice or {})}
        self._stack = [ELSEWHERE]
        self._thread = 0
        self._cuda: Any = None

    def __enter__(self) -> Self:
        global _active
        if _active is not None:
            raise RuntimeError("A profile is being recorded already; profiles cannot be nested.")
        self._thread = threading.get_ident()
        self._cuda = _cuda()
        if self._cuda is not None:
            self._cuda.synchronize()
            self._cuda.reset_peak_memory_stats()
        self._start = self._since = time.perf_counter()
        self._processor = time.process_time()
        _active = self
        return self

    def __exit__(self, *_: object) -> None:
        global _active
        self._settle()
        self.seconds = time.perf_counter() - self._start
        self._processor = time.process_time() - self._processor
        _active = None

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Time in the ``with`` block counts as ``name``, less the phases inside it."""
        if threading.get_ident() != self._thread:
            return nullcontext()
        return _Recorded(self, name)

    def switch(self, name: str) -> None:
        """What follows counts as ``name``, for work that is told of by hooks and not enclosed in a block."""
        if threading.get_ident() != self._thread:
            return
        self._settle()
        self._stack[-1] = name
        self.phases.setdefault(name, PhaseTime()).calls += 1

    def _enter(self, name: str) -> None:
        self._settle()
        self._stack.append(name)
        self.phases.setdefault(name, PhaseTime()).calls += 1

    def _leave(self) -> None:
        self._settle()
        self._stack.pop()

    def _settle(self) -> None:
        """Give the time since the last change to the phase that had it."""
        if self._cuda is not None:
            self._cuda.synchronize()
        now = time.perf_counter()
        self.phases.setdefault(self._stack[-1], PhaseTime()).seconds += now - self._since
        self._since = now

    def bottleneck(self) -> str:
        """The phase with the most time, and what can be done about it."""
        name = max(self.phases, key=lambda name: self.phases[name].seconds)
        share = 100 * self.phases[name].seconds / max(self.seconds, 1e-9)
        advice = self._advice.get(name)
        return f"Bottleneck: {name}, {share:.0f} % of the time" + (f" ({advice})." if advice else ".")

    def utilisation(self) -> dict[str, float]:
        """How busy the machine was, and the largest memory; units in the names."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        # in kB on Linux, in bytes on macOS
        unit = 2**20 if sys.platform == "darwin" else 2**10
        found = {
            "processor_cores_busy": self._processor / max(self.seconds, 1e-9),
            "processor_cores": float(cores),
            "peak_memory_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit,
        }
        if self._cuda is not None:
            found["gpu_peak_memory_MB"] = self._cuda.max_memory_allocated() / 2**20
        return found

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        rows = {name: {"calls": row.calls, "seconds": row.seconds} for name, row in self._rows()}
        return {"seconds": self.seconds, "phases": rows, **self.utilisation(), "bottleneck": self.bottleneck()}

    def table(self) -> str:
        """Phases by time, utilisation, peak memory and the bottleneck, as text."""
        title = "Where the time went"
        width = max(len(name) for name in [title, *self.phases])
        lines = [f"{title:<{width}}  {'seconds':>9} {'share':>6} {'calls':>9} {'µs per call':>12}"]
        for name, row in self._rows():
            share = 100 * row.seconds / max(self.seconds, 1e-9)
            calls = f"{row.calls:>9} {1e6 * row.seconds / row.calls:12.1f}" if row.calls else ""
            lines.append(f"{name:<{width}}  {row.seconds:9.3f} {share:5.1f}% {calls}".rstrip())
        found = self.utilisation()
        memory = f"peak memory {found['peak_memory_MB']:,.0f} MB"
        if "gpu_peak_memory_MB" in found:
            memory += f", on the GPU {found['gpu_peak_memory_MB']:,.0f} MB"
        busy = f"{found['processor_cores_busy']:.1f} of {found['processor_cores']:.0f} processor cores busy"
        lines.append(f"{self.seconds:.2f} s in all; {busy}; {memory}.")
        if found["processor_cores_busy"] < IDLE and self._cuda is None:
            lines.append("Less than one core was busy: other processes share the machine, or it waited for a disk.")
        return "\n".join([*lines, self.bottleneck()])

    def _rows(self) -> list[tuple[str, PhaseTime]]:
        return sorted(self.phases.items(), key=lambda item: -item[1].seconds)


class _Recorded:
    """A block of a profile."""

    __slots__ = ("_name", "_profile")

    def __init__(self, profile: Profile, name: str) -> None:
        self._profile, self._name = profile, name

    def __enter__(self) -> None:
        self._profile._enter(self._name)

    def __exit__(self, *_: object) -> None:
        self._profile._leave()


_active: Profile | None = None
_NOTHING: AbstractContextManager[None] = nullcontext()


def phase(name: str) -> AbstractContextManager[None]:
    """Time in the ``with`` block counts as ``name`` in the profile that is being recorded, if there is one."""
    return _NOTHING if _active is None else _active.phase(name)


def switch(name: str) -> None:
    """See `Profile.switch`; does nothing without a profile."""
    if _active is not None:
        _active.switch(name)


def active() -> Profile | None:
    """The profile that is being recorded."""
    return _active


def timed(name: str, items: Iterable[Item]) -> Iterable[Item]:
    """The same items; waiting for each counts as ``name``. Iterating again starts the iterable again, at once."""
    return _Timed(name, items)


class _Timed(Iterable[Item]):
    def __init__(self, name: str, items: Iterable[Item]) -> None:
        self._name, self._items = name, items

    def __iter__(self) -> Iterator[Item]:
        with phase(self._name):
            iterator = iter(self._items)
        return _waits(self._name, iterator)


def _waits(name: str, iterator: Iterator[Item]) -> Iterator[Item]:
    while True:
        try:
            with phase(name):
                item = next(iterator)
        except StopIteration:
            return
        yield item


def _cuda() -> Any:
    """``torch.cuda`` where torch is loaded and has a GPU in use; workers that do without torch stay without it."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None
