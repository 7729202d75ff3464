"""Independent tasks: each done once, none lost when a worker dies, and no process left when the parent does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training.engines import EngineSettings, ProcessPool, SerialEngine, WorkerLost
from training.errors import InputError, Interrupted

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


@pytest.fixture
def tasks(monkeypatch):
    """The module of test tasks, importable here and, because workers inherit the path, there."""
    monkeypatch.syspath_prepend(str(HERE))
    import engine_tasks

    return engine_tasks


def collect(engine, function, tasks):
    results = {}
    engine.run(function, tasks, lambda position, result: results.__setitem__(position, result))
    return results


def running(pid):
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


@pytest.mark.parametrize("engine", [SerialEngine(), ProcessPool(2)], ids=["serial", "process pool"])
class TestEveryEngine:
    def test_does_each_task_once_and_says_which(self, engine, tasks):
        assert collect(engine, tasks.square, [3, 1, 4, 1, 5]) == {0: 9, 1: 1, 2: 16, 3: 1, 4: 25}

    def test_of_nothing_does_nothing(self, engine, tasks):
        assert collect(engine, tasks.square, []) == {}

    def test_continues_a_chain_until_no_task_follows(self, engine, tasks):
        seen = []

        def follow(position, number):
            seen.append((position, number))
            return number if number > 0 else None

        engine.run(tasks.count_down, [3, 1], follow)
        assert sorted(seen) == [(0, 0), (0, 1), (0, 2), (1, 0)]

    def test_stops_when_its_check_says_so(self, engine, tasks):
        done = []

        def check():
            if done:
                raise Interrupted("enough")

        checked = ProcessPool(2, check=check) if isinstance(engine, ProcessPool) else SerialEngine(check)
        with pytest.raises(Interrupted, match="enough"):
            checked.run(tasks.square, range(100), lambda *_: done.append(1))
        assert 1 <= len(done) < 100

    def test_raises_what_the_function_raised(self, engine, tasks):
        with pytest.raises(ValueError, match="the bond is broken"):
            engine.run(tasks.raise_value_error, ["the bond is broken"], lambda *_: None)

    def test_sigterm_becomes_interrupted_and_the_default_returns_afterwards(self, engine, tasks):
        with pytest.raises(Interrupted, match="same command"):
            engine.run(tasks.square, [1, 2], lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


class TestProcessPool:
    def test_workers_are_other_processes_with_their_threads_set_before_numpy_loads(self, tasks):
        facts = collect(ProcessPool(2, threads_per_worker=1), tasks.process_facts, range(8)).values()
        assert os.getpid() not in {f["pid"] for f in facts}
        assert {f["threads"] for f in facts} == {"1"}
        assert not next(iter(facts))["numpy_was_loaded"]

    def test_a_killed_worker_loses_no_task(self, tasks, tmp_path):
        markers = [str(tmp_path / name) for name in "abc"]
        results = collect(ProcessPool(2), tasks.kill_yourself_once, markers)
        assert results == dict.fromkeys(range(3), "survived")

    def test_a_task_that_kills_every_worker_is_named(self, tasks):
        with pytest.raises(WorkerLost, match=r"SIGKILL.*2 times on task 0.*engine\.workers=1"):
            ProcessPool(1).run(tasks.kill_yourself, [None], lambda *_: None)

    def test_looks_at_its_check_while_a_task_lasts(self, tasks):
        start = time.monotonic()

        def check():
            if time.monotonic() - start > 1.0:
                raise Interrupted("enough")

        with pytest.raises(Interrupted):
            ProcessPool(1, check=check).run(time.sleep, [60], lambda *_: None)
        assert time.monotonic() - start < 15

    def test_a_worker_that_leaves_by_itself_is_named_with_its_exit_code(self, tasks):
        with pytest.raises(WorkerLost, match="exit code 7"):
            ProcessPool(1).run(tasks.leave, [7], lambda *_: None)

    def test_an_exception_that_cannot_travel_arrives_as_text(self, tasks):
        with pytest.raises(RuntimeError, match="Unpicklable: told"):
            ProcessPool(1).run(tasks.raise_unpicklable, [None], lambda *_: None)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
    def test_no_process_outlives_the_parent(self, number, tmp_path):
        script = (
            f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
            "import engine_tasks\n"
            "from training.engines import ProcessPool\n"
            f"ProcessPool(2).run(engine_tasks.sleep_with_a_child, [{str(tmp_path)!r}] * 2, lambda *_: None)\n"
        )
        parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.DEVNULL)
        wait_until(lambda: len(list(tmp_path.glob("pids-*"))) == 2 and all(p.read_text() for p in tmp_path.iterdir()))
        pids = [int(pid) for path in tmp_path.iterdir() for pid in path.read_text().split()]
        assert len(pids) == 4 and all(map(running, pids))
        parent.send_signal(number)
        assert parent.wait(timeout=20) != 0
        wait_until(lambda: not any(map(running, pids)))

    @pytest.mark.parametrize("how", ["script without a main guard", "standard input", "-c"])
    def test_works_from_any_kind_of_main_script(self, how, tmp_path):
        script = (
            f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
            "import engine_tasks\n"
            "from training.engines import ProcessPool\n"
            "ProcessPool(2).run(engine_tasks.square, [6, 7], lambda i, r: print(r))\n"
        )
        path = tmp_path / "script.py"
        path.write_text(script)
        command = {"-c": ["-c", script], "standard input": ["-"]}.get(how, [str(path)])
        done = subprocess.run(
            [sys.executable, *command], input=script, capture_output=True, text=True, timeout=60, cwd=ROOT
        )
        assert sorted(done.stdout.split()) == ["36", "49"], done.stderr

    def test_a_function_of_the_main_script_is_refused_with_the_remedy(self, tasks, monkeypatch):
        monkeypatch.setattr(tasks.square, "__module__", "__main__")
        with pytest.raises(InputError, match="engine=serial"):
            ProcessPool(1).run(tasks.square, [1], lambda *_: None)


class TestEngineSettings:
    @pytest.mark.parametrize(("kind", "engine"), [("process_pool", ProcessPool), ("serial", SerialEngine)])
    def test_build_the_engine_they_name(self, kind, engine):
        assert isinstance(EngineSettings(kind=kind).build(), engine)

    def test_take_a_worker_for_each_core_unless_told(self):
        assert EngineSettings().build().workers == len(os.sched_getaffinity(0))
        assert EngineSettings(workers=3).build().workers == 3

    @pytest.mark.parametrize("kind", ["ray", "submitit"])
    def test_say_that_a_cluster_engine_is_not_available_yet(self, kind):
        with pytest.raises(ValueError, match=f"'{kind}' is not available yet; choose process_pool or serial"):
            EngineSettings(kind=kind)
