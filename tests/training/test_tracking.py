import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as lightning
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from training.errors import InputError
from training.loggers.metrics_file import MetricsFile, metric_row
from training.tracking import TrackerSettings, build_tracker, curve, read_figures, read_metrics

CONFIGS = Path(__file__).parents[2] / "configs" / "tracker"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010804000000b51c0c020000000b4944415478da6364f80f00010501012718e366"
    "0000000049454e44ae426082"
)


def open_tracker(folder, **settings):
    return build_tracker(
        TrackerSettings(kind="none", **settings), folder, "quick", "seed0", {"seed": 0}, say=lambda line: None
    )


def steps_and_names(path):
    return [(row["step"], name) for row in read_metrics(path) for name in row if name not in ("step", "time")]


class TestTheMetricsFile:
    @given(value=st.floats() | st.integers(-(2**53), 2**53))
    def test_every_number_comes_back_exactly(self, tmp_path_factory, value):
        tracker = open_tracker(tmp_path_factory.mktemp("run"))
        tracker.log({"value": value}, step=3)
        (row,) = read_metrics(tracker.path)
        assert row["value"] == value or (math.isnan(value) and math.isnan(row["value"]))
        assert row["step"] == 3
        tracker.finish(ok=True)

    def test_tensors_and_numpy_scalars_are_numbers(self, tmp_path):
        with open_tracker(tmp_path) as tracker:
            tracker.log({"a": torch.tensor(0.5), "b": np.float32(0.25), "c": torch.tensor([7])}, step=0)
        assert {**read_metrics(tracker.path)[0], "time": 0} == {"step": 0, "time": 0, "a": 0.5, "b": 0.25, "c": 7}

    @pytest.mark.parametrize("torn", [1, 5, 20])
    def test_a_torn_last_line_is_ignored_and_gone_after_the_next_opening(self, tmp_path, torn):
        with open_tracker(tmp_path) as tracker:
            tracker.log({"loss": 1.0}, step=0)
            tracker.log({"loss": 0.5}, step=1)
        whole = tracker.path.read_bytes()
        tracker.path.write_bytes(whole[:-torn])
        assert steps_and_names(tracker.path) == [(0, "loss")]
        with open_tracker(tmp_path) as again:
            again.log({"loss": 0.4}, step=1)
        assert curve(read_metrics(tracker.path), "loss") == ([0, 1], [1.0, 0.4])

    def test_a_damaged_line_in_the_middle_is_named(self, tmp_path):
        path = tmp_path / "metrics.jsonl"
        path.write_text('{"step": 0, "time": 0, "loss": 1}\n{"step": 1, "ti\n{"step": 2, "time": 0, "loss": 1}\n')
        with pytest.raises(InputError, match=r"Line 2 of .*metrics\.jsonl is damaged"):
            read_metrics(path)

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(InputError, match="does not exist"):
            read_metrics(tmp_path / "metrics.jsonl")

    @pytest.mark.parametrize("name", ["step", "time", "figure", "summary"])
    def test_names_of_the_row_itself_are_refused(self, name):
        with pytest.raises(ValueError, match=name):
            metric_row({name: 1.0}, step=0)

    def test_a_folder_that_cannot_be_written_is_named(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="choose another folder"):
            MetricsFile(tmp_path / "file" / "run" / "metrics.jsonl")

    def test_a_killed_process_loses_nothing_it_has_logged(self, tmp_path):
        script = (
            "import sys; from pathlib import Path; from training.loggers.metrics_file import MetricsFile, metric_row\n"
            "file = MetricsFile(Path(sys.argv[1]))\n"
            "for step in range(10**9):\n"
            "    file.append(metric_row({'loss': 1.0}, step)); print(step, flush=True)\n"
        )
        path = tmp_path / "metrics.jsonl"
        process = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
        for line in process.stdout:
            if int(line) >= 300:
                os.kill(process.pid, signal.SIGKILL)
                break
        confirmed = int(line)
        process.stdout.close()
        process.wait(timeout=10)
        steps, _ = curve(read_metrics(path), "loss")
        assert steps == list(range(len(steps))) and len(steps) > confirmed


class TestAResume:
    @given(checkpoint=st.integers(0, 12), killed_at=st.integers(0, 12))
    def test_logs_no_step_twice_and_loses_none(self, tmp_path_factory, checkpoint, killed_at):
        folder = tmp_path_factory.mktemp("run")
        checkpoint = min(checkpoint, killed_at)
        tracker = open_tracker(folder)
        for step in range(killed_at):
            tracker.log({"train/loss": 1.0}, step)
            tracker.log({"learning_rate": 0.1}, step)
        tracker.finish(ok=False)
        resumed = open_tracker(folder)
        assert resumed.last_step == killed_at - 1
        resumed.resume_from(checkpoint)
        assert resumed.last_step == checkpoint - 1
        for step in range(checkpoint, 14):
            resumed.log({"train/loss": 1.0}, step)
            resumed.log({"learning_rate": 0.1}, step)
        resumed.finish(ok=True)
        expected = [(step, name) for step in range(14) for name in ("train/loss", "learning_rate")]
        assert steps_and_names(resumed.path) == expected


class Line(lightning.LightningModule):
    """The smallest model Lightning trains."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch, index):
        loss = (self.weight - 1).square().sum()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_steps_go_on_counting_from_stage_to_stage_under_lightning(tmp_path):
    tracker = open_tracker(tmp_path)
    model = Line()
    for first_step, length in [(0, 4), (4, 3)]:
        tracker.begin_stage(first_step)
        trainer = lightning.Trainer(
            max_steps=length,
            logger=tracker.loggers,
            accelerator="cpu",
            log_every_n_steps=1,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        trainer.fit(model, torch.utils.data.DataLoader(range(100)))
    tracker.finish(ok=True)
    steps, losses = curve(read_metrics(tracker.path), "train/loss")
    assert steps == [0, 1, 2, 3, 4, 5, 6]
    # each SGD step takes the distance to the minimum times 0.8; float32
    assert losses == pytest.approx([0.64**k for k in range(7)], rel=1e-5)


class TestFigures:
    def test_are_recorded_relative_to_the_run_folder(self, tmp_path):
        with open_tracker(tmp_path / "run") as tracker:
            figure = tmp_path / "run" / "figures" / "parity.png"
            figure.parent.mkdir()
            figure.write_bytes(PNG)
            tracker.log({"loss": 1.0}, step=5)
            tracker.figure("parity", figure)
        (tmp_path / "run").rename(tmp_path / "moved")
        moved = tmp_path / "moved"
        assert read_figures(moved / "metrics.jsonl") == {"parity": moved / "figures" / "parity.png"}
        assert steps_and_names(moved / "metrics.jsonl") == [(5, "loss")]

    def test_a_missing_one_and_one_outside_the_run_are_refused(self, tmp_path):
        with open_tracker(tmp_path / "run") as tracker:
            with pytest.raises(InputError, match="no PNG file"):
                tracker.figure("parity", tmp_path / "run" / "parity.png")
            (tmp_path / "parity.png").write_bytes(PNG)
            with pytest.raises(InputError, match="outside the run folder"):
                tracker.figure("parity", tmp_path / "parity.png")


def test_a_summary_keeps_words_numbers_and_nesting_and_survives_a_resume(tmp_path):
    with open_tracker(tmp_path) as tracker:
        tracker.log({"loss": 1.0}, step=9)
        tracker.summary({"force": {"mae": np.float64(3.5)}, "passed": True, "drift": float("nan"), "teacher": "gfn2"})
    with open_tracker(tmp_path) as again:
        again.resume_from(0)
    (line,) = again.path.read_text().splitlines()
    assert yaml.safe_load(line)["summary"] == {
        "force": {"mae": 3.5},
        "passed": True,
        "drift": "NaN",
        "teacher": "gfn2",
    }


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_tracker_config_has_the_fields_of_its_settings(path):
    content = yaml.safe_load(path.read_text())
    assert set(content) == set(TrackerSettings.model_fields)
    assert TrackerSettings(**content).kind == path.stem


def test_there_is_a_config_for_every_kind():
    kinds = TrackerSettings.model_fields["kind"].annotation.__args__
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == set(kinds)
