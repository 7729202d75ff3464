"""Weights & Biases without an account: no question, no request, everything in the run folder."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from training.errors import ConfigurationError
from training.loggers.wandb_logger import choose_mode
from training.tracking import TrackerSettings, build_tracker

OFFLINE = TrackerSettings(kind="wandb", dashboard=False)
ROOT = Path(__file__).parents[2]
KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    """A user who has never heard of wandb."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb-config"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "wandb-cache"))


@pytest.fixture
def proxy(monkeypatch):
    """A proxy that every request of this machine's programs would go through; it records them and answers none."""
    server = socket.create_server(("127.0.0.1", 0))
    requests = []

    def listen():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            connection.settimeout(1.0)
            with connection:
                try:
                    requests.append(connection.recv(200))
                except OSError as error:
                    requests.append(repr(error).encode())

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield requests
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def run_python(script, *arguments):
    """A process of its own with no terminal, as in a batch job."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def summary_of(folder):
    """What wandb's own terminal reader finds in a run."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=os.environ | {"WANDB_ERROR_REPORTING": "false"}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


LOG = """
import sys
from pathlib import Path
from training.tracking import TrackerSettings, build_tracker
import training.loggers.wandb_logger as module
module.INIT_TIMEOUT = 3.0
settings = TrackerSettings(kind="wandb", dashboard=False)
tracker = build_tracker(settings, Path(sys.argv[1]), "quick", "seed0", {"seed": 7, "teacher": {"name": "gfn2"}})
for step in range(20):
    tracker.log({"train/loss": 1 / (step + 1)}, step)
tracker.summary({"force": {"mae": 3.5}})
tracker.finish(ok=True)
"""


def test_without_an_account_a_run_is_offline_asks_nothing_and_sends_nothing(tmp_path, proxy):
    output = run_python(LOG, tmp_path / "run")
    assert proxy == []
    assert output.count("\n") == 1 and "wandb: offline" in output and "wandb leet" in output
    found = json.dumps(summary_of(tmp_path / "run" / "wandb" / "latest-run"))
    assert "gfn2" in found and "train/loss" in found and "0.05" in found and "3.5" in found


def test_a_user_who_is_logged_in_goes_online_and_an_unreachable_server_does_not_stop_the_run(
    tmp_path, proxy, monkeypatch
):
    # an address that no one has, reachable only through the recording proxy
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.invalid")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    output = run_python(LOG, tmp_path / "run")
    assert any(b"wandb.invalid" in request for request in proxy)
    assert "does not accept the run" in output and "wandb: offline" in output
    assert "train/loss" in json.dumps(summary_of(tmp_path / "run" / "wandb" / "latest-run"))


def test_a_resumed_run_keeps_its_identity_and_sends_no_step_twice(tmp_path):
    folder = tmp_path / "run"
    for first, last in [(0, 10), (6, 15)]:
        tracker = build_tracker(OFFLINE, folder, "quick", "seed0", {}, say=len)
        tracker.resume_from(first)
        for step in range(first, last):
            tracker.log({"train/loss": 1.0}, step)
        tracker.finish(ok=True)
    files = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 2 and len({file.name for file in files}) == 1
    steps = []
    for file in files:
        done = subprocess.run(
            [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)],
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | {"WANDB_ERROR_REPORTING": "false"},
        )
        records = [json.loads(line) for line in done.stdout.splitlines()]
        steps += [step for record in records if (step := history_step(record)) is not None]
    assert steps == list(range(15))


def history_step(record):
    """The step of a record that holds a logged loss."""
    text = json.dumps(record)
    if record.get("type") != "history" or "train/loss" not in text:
        return None
    return find(record, "_step")


def find(value, name):
    """The first entry called ``name`` at any depth of a record, as an integer."""
    if isinstance(value, dict):
        if name in value:
            return int(value[name])
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            if (found := find(entry, name)) is not None:
                return found
    return None


def test_two_runs_of_one_process_are_two_runs(tmp_path):
    for seed in (0, 1):
        tracker = build_tracker(OFFLINE, tmp_path / f"seed{seed}", "quick", f"seed{seed}", {"seed": seed}, say=len)
        tracker.log({"seed_again": seed}, step=0)
        tracker.finish(ok=True)
    for seed in (0, 1):
        (file,) = (tmp_path / f"seed{seed}").glob("wandb/offline-run-*/run-*.wandb")
        assert f'"seed_again": {seed}' in json.dumps(summary_of(file.parent))


class TestTheMode:
    def test_is_offline_without_a_key(self):
        assert choose_mode() == "offline"

    def test_is_online_with_a_key_in_the_environment(self, monkeypatch):
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        assert choose_mode() == "online"

    def test_is_online_with_a_key_in_netrc(self, monkeypatch, tmp_path):
        import wandb

        host = wandb.setup().settings.base_url.split("//")[1]
        (tmp_path / "netrc").write_text(f"machine {host}\n  login user\n  password {KEY}\n")
        (tmp_path / "netrc").chmod(0o600)
        assert choose_mode() == "online"

    def test_a_key_for_another_host_is_no_key(self, tmp_path):
        (tmp_path / "netrc").write_text(f"machine other.invalid\n  login user\n  password {KEY}\n")
        (tmp_path / "netrc").chmod(0o600)
        assert choose_mode() == "offline"

    @pytest.mark.parametrize(("wanted", "mode"), [("offline", "offline"), ("disabled", "disabled"), ("", "online")])
    def test_follows_the_users_variable_before_the_key(self, monkeypatch, wanted, mode):
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_MODE", wanted)
        assert choose_mode() == mode

    def test_online_without_a_key_says_how_to_log_in(self, monkeypatch):
        monkeypatch.setenv("WANDB_MODE", "online")
        with pytest.raises(ConfigurationError, match="wandb login"):
            choose_mode()

    def test_an_unknown_mode_is_named(self, monkeypatch):
        monkeypatch.setenv("WANDB_MODE", "onlin")
        with pytest.raises(ConfigurationError, match="onlin"):
            choose_mode()

    def test_disabled_leaves_the_jsonl_file_alone(self, monkeypatch, tmp_path):
        monkeypatch.setenv("WANDB_MODE", "disabled")
        with build_tracker(OFFLINE, tmp_path / "run", "quick", "seed0", {}, say=len) as tracker:
            tracker.log({"loss": 1.0}, step=0)
        assert tracker.path.exists() and not (tmp_path / "run" / "wandb").exists()
