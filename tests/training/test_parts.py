"""Averaging, random streams, checkpoints, hardware, time budgets and interruptions, each by itself."""

import os
import random
import signal

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from training import budget as budget_module
from training.averaging import AveragedModel
from training.budget import MEASURED_STEPS, WARM_STEPS, TimeBudget
from training.checkpoints import LAST, PREVIOUS, AtomicCheckpointIO, find_checkpoint
from training.errors import ConfigurationError, InputError, Interrupted
from training.hardware import HardwareSettings, choose_hardware
from training.interruption import Interruption
from training.seeding import random_state, restore_random_state, seed_everything
from training.stages import Stage

ADAM = {"_target_": "torch.optim.Adam", "lr": 0.1}


class TestAverage:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_follows_the_formula_and_copies_buffers(self, dtype):
        network = torch.nn.BatchNorm1d(3).to(dtype)
        average = AveragedModel(network)
        expected = network.weight.detach().clone()
        for step in range(30):
            with torch.no_grad():
                network.weight.add_(0.1 * (step + 1))
                network.running_mean.fill_(step)
            average.update(network, decay=0.7)
            decay = min(0.7, (1 + step) / (10 + step))
            expected = decay * expected + (1 - decay) * network.weight.detach()
        torch.testing.assert_close(average.model.weight.detach(), expected, rtol=1e-6, atol=0)
        assert average.model.weight.dtype == dtype and not average.model.weight.requires_grad
        assert torch.equal(average.model.running_mean, network.running_mean)
        assert int(average.updates) == 30

    def test_leaves_the_network_alone(self):
        network = torch.nn.Linear(2, 2)
        before = network.weight.detach().clone()
        average = AveragedModel(network)
        with torch.no_grad():
            average.model.weight.zero_()
        average.update(network, 0.9)
        assert torch.equal(network.weight, before)


def test_random_streams_continue_exactly_through_a_weights_only_checkpoint(tmp_path):
    def draw():
        legacy = np.random.mtrand._rand  # the global stream that libraries draw from
        return random.random(), random.gauss(0, 1), legacy.rand(), legacy.normal(), torch.rand(2).tolist()

    seed_everything(1, 2)
    draw()
    AtomicCheckpointIO().save_checkpoint({"random": random_state()}, tmp_path / LAST)
    expected = [draw() for _ in range(3)]
    seed_everything(99)
    restore_random_state(AtomicCheckpointIO().load_checkpoint(tmp_path / LAST)["random"])
    assert [draw() for _ in range(3)] == expected


def test_parts_of_a_run_have_independent_streams():
    streams = []
    for path in ((0,), (0, 0), (0, 1), (1,)):
        seed_everything(*path)
        streams.append((random.random(), float(torch.rand(()))))
    assert len(set(streams)) == 4


class TestCheckpoints:
    def test_the_former_one_is_kept_and_nothing_else_is_left(self, tmp_path):
        for value in (1, 2, 3):
            AtomicCheckpointIO().save_checkpoint({"value": value}, tmp_path / LAST)
        assert sorted(file.name for file in tmp_path.iterdir()) == [LAST, PREVIOUS]
        assert AtomicCheckpointIO().load_checkpoint(tmp_path / LAST) == {"value": 3}
        assert AtomicCheckpointIO().load_checkpoint(tmp_path / PREVIOUS) == {"value": 2}

    @pytest.mark.parametrize("keep", [0, 10, 200, -1])
    def test_a_cut_off_file_is_told_and_the_previous_one_used(self, tmp_path, keep):
        for value in (1, 2):
            AtomicCheckpointIO().save_checkpoint({"value": torch.full((50,), value)}, tmp_path / LAST)
        content = (tmp_path / LAST).read_bytes()
        (tmp_path / LAST).write_bytes(content[:keep])
        said = []
        path, content = find_checkpoint(tmp_path, said.append)
        assert path.name == PREVIOUS and content["value"][0] == 1
        assert len(said) == 1 and "damaged" in said[0] and "WARNING" in said[0]
        # the damaged file must not take the place of the good one at the next save
        AtomicCheckpointIO().save_checkpoint({"value": 3}, tmp_path / LAST)
        assert AtomicCheckpointIO().load_checkpoint(tmp_path / PREVIOUS)["value"][0] == 1

    def test_objects_are_refused(self, tmp_path):
        AtomicCheckpointIO().save_checkpoint({"value": Interruption}, tmp_path / LAST)
        with pytest.raises(Exception, match=r"weights_only|Unsupported global"):
            AtomicCheckpointIO().load_checkpoint(tmp_path / LAST, weights_only=False)

    def test_no_checkpoint_is_no_error(self, tmp_path):
        assert find_checkpoint(tmp_path, print) is None

    def test_a_full_disk_leaves_the_former_files(self, tmp_path, monkeypatch):
        AtomicCheckpointIO().save_checkpoint({"value": 1}, tmp_path / LAST)

        def full(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match="No space left"):
            AtomicCheckpointIO().save_checkpoint({"value": 2}, tmp_path / LAST)
        assert [file.name for file in tmp_path.iterdir()] == [LAST]
        assert AtomicCheckpointIO().load_checkpoint(tmp_path / LAST) == {"value": 1}


class TestHardware:
    def test_the_choice_names_its_reason(self):
        hardware = choose_hardware(HardwareSettings(device="cpu", threads=1))
        assert (hardware.device, hardware.accelerator, hardware.threads) == ("cpu", "cpu", 1)
        assert "asked for" in hardware.reason and torch.get_num_threads() == 1

    def test_auto_takes_the_gpu_exactly_where_there_is_one(self):
        hardware = choose_hardware(HardwareSettings(threads=1))
        assert hardware.device == ("cuda" if torch.cuda.is_available() else "cpu")

    def test_a_gpu_that_is_not_there_is_an_error_with_a_remedy(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(ConfigurationError, match="hardware=cpu"):
            choose_hardware(HardwareSettings(device="gpu", threads=1))

    def test_apples_gpu_is_refused_for_its_lack_of_float64(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
        assert "float64" in choose_hardware(HardwareSettings(threads=1)).reason
        with pytest.raises(ConfigurationError, match="float64"):
            choose_hardware(HardwareSettings(device="gpu", threads=1))

    def test_several_devices_are_refused(self):
        with pytest.raises(ConfigurationError, match=r"hardware\.devices=2"):
            choose_hardware(HardwareSettings(devices=2))


class TestBudget:
    def test_cuts_a_stage_to_what_fits_with_its_validations(self, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(budget_module.time, "monotonic", lambda: now[0])
        budget = TimeBudget(60.0, spent=10.0, validation_batches=20, validate_every=100, accumulate=1)
        answer, step = None, 0
        while answer is None:
            step += 1
            # slow first steps are not measured, nor is a validation in between
            now[0] += 1.0 if step <= WARM_STEPS else 0.1
            if step == 30:
                now[0] += 5.0
                budget.pause()
            answer = budget.steps_that_fit(step)
        # one step starts the clock, the one after the pause starts it again
        assert step == WARM_STEPS + MEASURED_STEPS + 2
        # a validation batch counts half a step: 0.1 (1 + 0.5 · 20 / 100) s each
        assert answer == step + int((60 - 10 - now[0]) / 0.11)

    def test_a_spent_budget_still_ends_the_stage_properly(self):
        budget = TimeBudget(1e-9, spent=5.0, validation_batches=0, validate_every=1, accumulate=1)
        for step in range(1, 100):
            answer = budget.steps_that_fit(step)
            if answer is not None:
                break
        assert answer == step + 1


class TestInterruption:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_is_a_request_until_it_is_looked_at(self, number):
        former = signal.getsignal(number)
        with Interruption() as interruption:
            interruption.check()
            os.kill(os.getpid(), number)
            with pytest.raises(Interrupted, match=signal.Signals(number).name) as error:
                interruption.check()
            assert error.value.exit_code == 75
        assert signal.getsignal(number) is former

    def test_a_second_ctrl_c_stops_at_once(self):
        with Interruption():
            os.kill(os.getpid(), signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)

    def test_a_forked_helper_still_dies_from_a_signal(self):
        with Interruption():
            child = os.fork()
            if child == 0:
                os.kill(os.getpid(), signal.SIGTERM)
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


class TestStage:
    def test_short_names_of_precisions(self):
        def precision(word):
            return Stage(steps=1, optimizer=ADAM, loss_weights={"a": 1}, precision=word).precision

        assert [precision(word) for word in (32, "64", "bf16", 16, "32-true")] == [
            "32-true",
            "64-true",
            "bf16-mixed",
            "16-mixed",
            "32-true",
        ]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"optimizer": {"lr": 1}},
            {"optimizer": {"_target_": "os.system"}},
            {"optimizer": {"_target_": "torch.optim.Adamm"}},
            {"optimizer": ADAM | {"lr": -1.0}},
            {"optimizer": ADAM | {"learning_rate": 1.0}},
            {"optimizer": {"_target_": "training.optimizers.GaussNewton"}, "precision": 64},
            {"optimizer": {"_target_": "training.optimizers.SSBroyden"}, "precision": 32},
            {"schedule": {"_target_": "subprocess.run"}},
            {"schedule": {"_target_": "training.schedules.Cosine", "final": 2.0}},
            {"precision": "8"},
            {"steps": 0},
            {"ema_decay": 1.0},
            {"loss_weights": {}},
            {"loss_weights": {"a": -1}},
        ],
        ids=str,
    )
    def test_wrong_settings_are_refused(self, wrong):
        with pytest.raises(ValidationError):
            Stage(**{"steps": 1, "optimizer": ADAM, "loss_weights": {"a": 1}, **wrong})
