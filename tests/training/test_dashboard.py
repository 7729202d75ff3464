import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from training.errors import ConfigurationError, InputError
from training.tracking import TrackerSettings, build_tracker

LOCAL = TrackerSettings(kind="trackio")
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def fresh_trackio(monkeypatch):
    """trackio keeps its place from its import on; every test has a place of its own."""

    def forget():
        for name in [name for name in sys.modules if name == "trackio" or name.startswith("trackio.")]:
            monkeypatch.delitem(sys.modules, name)

    forget()
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    yield
    forget()
    os.environ.pop("TRACKIO_DIR", None)


def stored(root, column="step, metrics"):
    database = sqlite3.connect(root / ".dashboard" / "limbeck.db")
    rows = database.execute(f"SELECT {column} FROM metrics ORDER BY step, id").fetchall()
    database.close()
    return rows


def open_tracker(root, name="seed0", say=len, settings=LOCAL):
    config = {"seed": 7, "teacher": {"name": "gfn2"}, "tracker": settings.model_dump()}
    folder = root / "quick" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return build_tracker(settings, folder, "quick", name, config, say=say)


def log_a_run(root, name="seed0", steps=20):
    """A run as the pipeline leaves it: two curves, a figure, final numbers, a config."""
    import matplotlib.figure

    tracker = open_tracker(root, name)
    for step in range(steps):
        tracker.log({"train/loss": 1 / (step + 1)}, step)
        tracker.log({"val/force_mae_meV_per_A": 100 / (step + 1)}, step)
    figure = matplotlib.figure.Figure(figsize=(4, 3))
    figure.subplots().plot([0, 1], [0, 1], color="red")
    (tracker.path.parent / "figures").mkdir(exist_ok=True)
    figure.savefig(tracker.path.parent / "figures" / "parity.png")
    tracker.figure("parity", tracker.path.parent / "figures" / "parity.png")
    tracker.summary({"force": {"mae": 3.5}, "passed": True, "teacher": "gfn2"})
    tracker.finish(ok=True)
    return tracker.path.parent


class TestTheLiveCopy:
    def test_holds_what_metrics_jsonl_holds(self, tmp_path):
        log_a_run(tmp_path, steps=3)
        values = [(step, json.loads(metrics)) for step, metrics in stored(tmp_path)]
        assert values[:2] == [(0, {"train/loss": 1.0}), (0, {"val/force_mae_meV_per_A": 100.0})]
        assert values[-1] == (2, {"summary/force/mae": 3.5, "summary/passed": 1.0})
        (figure,) = [entry["figures/parity"] for _, entry in values if "figures/parity" in entry]
        assert (tmp_path / ".dashboard" / "media" / figure["file_path"]).read_bytes().startswith(b"\x89PNG")

    def test_stores_no_step_twice_when_a_killed_run_resumes(self, tmp_path):
        tracker = open_tracker(tmp_path)
        for step in range(10):
            tracker.log({"loss": 1.0}, step)
        tracker.loggers[1]._flush()
        # the process dies here; the next one continues from a checkpoint after step 5
        resumed = open_tracker(tmp_path)
        resumed.resume_from(6)
        for step in range(6, 15):
            resumed.log({"loss": 2.0}, step)
        resumed.finish(ok=True)
        expected = [(step, {"loss": 1.0 if step < 6 else 2.0}) for step in range(15)]
        assert [(step, json.loads(metrics)) for step, metrics in stored(tmp_path)] == expected

    def test_a_folder_started_afresh_replaces_its_former_run(self, tmp_path):
        folder = log_a_run(tmp_path)
        (folder / "metrics.jsonl").unlink()
        with open_tracker(tmp_path) as tracker:
            tracker.log({"loss": 1.0}, step=0)
        assert [(step, json.loads(metrics)) for step, metrics in stored(tmp_path)] == [(0, {"loss": 1.0})]

    def test_a_database_that_cannot_be_written_is_said_once_and_the_run_goes_on(self, tmp_path):
        lines = []
        tracker = open_tracker(tmp_path, say=lines.append)
        database = tmp_path / ".dashboard" / "limbeck.db"
        for path in database.parent.glob("limbeck.db*"):
            path.unlink()
        database.mkdir()
        for step in range(3):
            tracker.log({"loss": 1.0}, step)
            tracker.summary({"mae": 1.0})
        tracker.finish(ok=True)
        (line,) = lines
        assert "cannot be written" in line and "metrics.jsonl" in line
        assert tracker.path.read_text().count("loss") == 3

    def test_a_second_root_in_one_process_is_refused_alone_and_mentioned_beside_wandb(self, tmp_path, monkeypatch):
        monkeypatch.setenv("WANDB_MODE", "disabled")
        log_a_run(tmp_path / "first", steps=1)
        with pytest.raises(ConfigurationError, match="one per process"):
            open_tracker(tmp_path / "second")
        lines = []
        both = open_tracker(tmp_path / "second", say=lines.append, settings=TrackerSettings(kind="wandb"))
        both.finish(ok=True)
        assert "make dashboard" in lines[-1] and len(both.loggers) == 1

    def test_a_missing_extra_names_the_command_that_installs_it(self, tmp_path, monkeypatch):
        monkeypatch.setattr("training.loggers.trackio_store.is_installed", lambda: False)
        with pytest.raises(ConfigurationError, match=r"pip install 'limbeck\[dashboard\]'"):
            open_tracker(tmp_path)


class TestAnImportedRun:
    def test_equals_the_live_copy_when_the_database_is_lost(self, tmp_path):
        from training.loggers.trackio_store import import_run

        folder = log_a_run(tmp_path)
        columns = "run_id, run_name, step, metrics, timestamp, log_id"
        live = stored(tmp_path, columns)
        for path in (tmp_path / ".dashboard").glob("limbeck.db*"):
            path.unlink()
        assert import_run(folder, tmp_path) == len(live) == 42
        # the two write their own clock into figures and final numbers
        assert [row[:4] + row[5:] for row in stored(tmp_path, columns)] == [row[:4] + row[5:] for row in live]
        database = sqlite3.connect(tmp_path / ".dashboard" / "limbeck.db")
        (config,) = database.execute("SELECT config FROM configs").fetchone()
        database.close()
        assert json.loads(config)["teacher.name"] == "gfn2" and json.loads(config)["_Group"] == "quick"

    def test_adds_nothing_the_second_time_nor_beside_a_run_that_logs_live(self, tmp_path):
        from training.loggers.trackio_store import import_run

        tracker = open_tracker(tmp_path)
        for step in range(6):
            tracker.log({"loss": 1.0}, step)
            import_run(tracker.path.parent, tmp_path)
        assert import_run(tracker.path.parent, tmp_path) == 0
        tracker.finish(ok=True)
        assert stored(tmp_path, "step") == [(step,) for step in range(6)]

    def test_a_damaged_config_is_named(self, tmp_path):
        from training.loggers.trackio_store import import_run

        folder = log_a_run(tmp_path, steps=1)
        (folder / "config.yaml").write_text("seed: [1")
        with pytest.raises(InputError, match=r"config\.yaml is damaged"):
            import_run(folder, tmp_path)

    def test_one_damaged_run_does_not_hide_the_others(self, tmp_path):
        from training.dashboard import RunFollower

        log_a_run(tmp_path, "good", steps=1)
        bad = log_a_run(tmp_path, "bad", steps=1)
        (bad / "metrics.jsonl").write_text("{\n{}\n")
        lines = []
        follower = RunFollower(tmp_path, lines.append)
        assert [folder.name for folder in follower.refresh()] == ["good"]
        assert len(lines) == 1 and "bad" in lines[0] and "Line 1" in lines[0]
        assert follower.refresh() == []

    def test_a_deleted_run_folder_leaves_the_dashboard(self, tmp_path):
        import shutil

        from training.dashboard import RunFollower

        log_a_run(tmp_path, "kept", steps=1)
        shutil.rmtree(log_a_run(tmp_path, "deleted", steps=1))
        RunFollower(tmp_path, print).forget_deleted()
        assert {name for (name,) in stored(tmp_path, "run_name")} == {"quick/kept"}
        assert not (tmp_path / ".dashboard" / "media" / "limbeck" / "quick" / "deleted").exists()


class Dashboard:
    """The command a user starts, and its address."""

    def __init__(self, root, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "training.dashboard", "--root", str(root), *arguments],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        for line in self.process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:\d+/\S*", line):
                self.address = found[0]
                return self
        raise AssertionError(self.process.stderr.read())

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=20)
        self.process.stdout.close()
        self.process.stderr.close()
        assert code == 0


def run_command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "training.dashboard", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_missing_folder_and_a_taken_port_are_named(tmp_path):
    missing = run_command("--root", str(tmp_path / "nothing"))
    assert missing.returncode == 2 and "--root" in missing.stderr and "Traceback" not in missing.stderr
    with Dashboard(tmp_path, "--port", "17860"):
        taken = run_command("--root", str(tmp_path), "--port", "17860")
    assert taken.returncode == 2 and "Port 17860 is taken" in taken.stderr and "Traceback" not in taken.stderr


@pytest.fixture
def browser(browser_paths, tmp_path):
    """Chromium without a window, which notes every request it makes."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    program, driver = browser_paths
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1600"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()


def wait_until(condition, seconds=30.0):
    """The first true value of a condition."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.2)
    raise AssertionError("The page did not show it in time.")


def requested(browser):
    """Addresses of everything the page has asked for since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    sockets = {m["params"]["url"] for m in messages if m["method"] == "Network.webSocketCreated"}
    return sent | sockets


COLOURED_PIXELS = """
return [...document.querySelectorAll('canvas.marks')].map(canvas => {
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let coloured = 0;
  for (let i = 0; i < data.length; i += 4)
    if (data[i + 3] > 0 && Math.max(data[i], data[i+1], data[i+2]) - Math.min(data[i], data[i+1], data[i+2]) > 40)
      coloured += 1;
  return coloured;
});
"""
RED_IMAGES = """
return [...document.querySelectorAll('img')].filter(image => image.naturalWidth === 400 && image.naturalHeight === 300)
  .map(image => image.src);
"""


@pytest.mark.browser
def test_a_browser_shows_curve_figure_config_and_comparison_and_asks_no_other_machine(tmp_path, browser):
    def text():
        return browser.find_element("tag name", "body").text

    runs = tmp_path / "runs"
    log_a_run(runs, "seed0")
    log_a_run(runs, "seed1", steps=30)
    with Dashboard(runs) as dashboard:
        # what Chromium asked for before, on behalf of its own start page, is not the dashboard's
        requested(browser)
        browser.get(dashboard.address)
        wait_until(lambda: "force_mae_meV_per_A" in text() and "quick/seed0" in text() and "quick/seed1" in text())
        # two lines across a plot 200 pixels wide leave at least this many coloured pixels
        wait_until(lambda: max(browser.execute_script(COLOURED_PIXELS), default=0) > 400)
        browser.get(dashboard.address.replace("/?", "/media?"))
        wait_until(lambda: len(browser.execute_script(RED_IMAGES)) == 2)
        browser.get(dashboard.address.replace("/?", "/runs?"))
        wait_until(lambda: browser.find_elements("xpath", "//button[normalize-space()='quick/seed0']"))[0].click()
        wait_until(lambda: '"teacher.name": "gfn2"' in text())
        log_a_run(runs, "seed2", steps=5)
        browser.get(dashboard.address)
        wait_until(lambda: "quick/seed2" in text())
        addresses = requested(browser)
    over_the_network = {url for url in addresses if url.startswith(("http", "ws"))}
    foreign = {url for url in over_the_network if not url.startswith(dashboard.address.split("?")[0])}
    assert len(over_the_network) > 10 and foreign == set()


@pytest.mark.browser
def test_a_run_without_a_database_is_shown_while_it_goes_on(tmp_path, browser):
    tracker = build_tracker(TrackerSettings(kind="none"), tmp_path / "runs/quick/live", "quick", "live", {}, say=len)
    tracker.log({"train/loss": 1.0}, step=0)
    with Dashboard(tmp_path / "runs") as dashboard:
        for step in range(1, 10):
            tracker.log({"train/loss": 1.0 / step}, step)
        browser.get(dashboard.address.replace("/?", "/runs?"))

        def last_step():
            browser.refresh()
            time.sleep(1.0)
            return re.search(r"quick/live\s+10\s+9\b", browser.find_element("tag name", "body").text)

        wait_until(last_step)
    tracker.finish(ok=True)
