"""Stopping on request: a signal sets a flag, and the work stops at the next point where everything is saved."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

from training.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """Turns SIGTERM and Ctrl-C into a request that phases look at between two pieces of work.

    A second Ctrl-C stops at once, without saving. Use as a context manager in the main thread; elsewhere it never asks.
    """

    def __init__(self) -> None:
        self.requested: str | None = None
        self._former: dict[int, Any] = {}
        # a forked helper process inherits the handlers, but must still die from a signal
        self._process = os.getpid()

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.getsignal(number) for number in SIGNALS}
            self.install()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}

    def install(self) -> None:
        """Set the handlers again, for a library that has put its own in their place."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._handle)

    def check(self) -> None:
        """Call where stopping loses nothing.

        Raises:
            Interrupted: if a signal has arrived.
        """
        if self.requested is not None:
            raise Interrupted(
                f"Stopped by {self.requested}; everything so far is saved. Run the same command to continue."
            )

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if self.requested is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = signal.Signals(number).name
