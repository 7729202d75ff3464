"""Tasks for the tests of the engines; worker processes import this file, so it holds nothing else."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def square(number):
    return number * number


def process_facts(_):
    return {
        "pid": os.getpid(),
        "threads": os.environ["OMP_NUM_THREADS"],
        "numpy_was_loaded": "numpy" in sys.modules,
        "main": getattr(sys.modules["__main__"], "__file__", ""),
    }


def kill_yourself_once(marker):
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def kill_yourself(_):
    os.kill(os.getpid(), signal.SIGKILL)


def leave(code):
    os._exit(code)


def raise_value_error(text):
    raise ValueError(text)


class Unpicklable(Exception):
    def __init__(self, first, second):
        super().__init__(first)


def raise_unpicklable(_):
    raise Unpicklable("told", "untold")


def sleep_with_a_child(folder):
    """Leaves the process numbers of this worker and of a program it started, then sleeps."""
    child = subprocess.Popen(["sleep", "60"])
    (Path(folder) / f"pids-{os.getpid()}").write_text(f"{os.getpid()} {child.pid}")
    time.sleep(60)


def count_down(number):
    return number - 1
