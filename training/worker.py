"""The life of a worker process of ``training.engines``: take a task, do it, answer; and never outlive the parent."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from queue import SimpleQueue

from training.engines import Answer


def main() -> None:
    """Serve the connection whose file descriptor is the first argument."""
    connection = Connection(int(sys.argv[1]))
    payloads: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_receive, args=(connection, payloads), daemon=True).start()
    while True:
        connection.send_bytes(_answer(payloads.get()))


def _receive(connection: Connection, payloads: SimpleQueue[bytes]) -> None:
    """Listens while the main thread computes: the connection is closed when the parent dies, however it dies."""
    try:
        while True:
            payloads.put(connection.recv_bytes())
    except (EOFError, OSError):
        # the worker leads its own process group, so programs a teacher has started end with it
        os.killpg(os.getpgrp(), signal.SIGKILL)


def _answer(payload: bytes) -> bytes:
    try:
        function, task = pickle.loads(payload)
        return pickle.dumps(Answer(value=function(task)))
    except Exception as error:
        return _failure(error)


def _failure(error: Exception) -> bytes:
    trace = traceback.format_exc()
    answer = pickle.dumps(Answer(error=RuntimeError(f"{type(error).__name__}: {error}"), trace=trace))
    try:
        faithful = pickle.dumps(Answer(error=error, trace=trace))
        # an exception with required arguments may be picklable and yet not come back
        pickle.loads(faithful)
    except Exception:
        return answer
    return faithful


if __name__ == "__main__":
    main()
