"""The measured model of a device's time: what it predicts, what is chosen, what is said."""

import logging

import pytest
import torch

from pinn.fitting import batched_fit, devices
from pinn.fitting.devices import TimeModel, choose_device
from training.errors import InputError

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    monkeypatch.setattr(devices, "_known", {})


class Machines:
    """Two devices whose times are exactly ``a + b·B``: a quick start against a fast pace."""

    def __init__(self):
        self.calls = []

    def trial(self, n, device):
        self.calls.append((n, device.type))
        a, b = {"cpu": (0.001, 0.001), "cuda": (0.2, 1e-5)}[device.type]
        return a + b * n


def choose(n, machines, said=None, wanted="auto", movable=True, work="w"):
    say = None if said is None else said.append
    return choose_device(wanted, n, machines.trial, work, movable, say, lambda: [CPU, GPU])


def test_few_fits_stay_and_many_go_where_the_pace_is_fast():
    machines, said = Machines(), []
    assert choose(50, machines, said).device == CPU
    choice = choose(100_000, machines, said)
    assert choice.device == GPU
    assert choice.predicted == {"cpu": pytest.approx(100.001), "cuda": pytest.approx(1.2)}
    assert said[1] == "100,000 fits: cpu 100 s, cuda 1.2 s predicted; computed on cuda."
    # measured once, a call to warm each device up before
    assert machines.calls == [(8, "cpu"), (8, "cpu"), (256, "cpu"), (8, "cuda"), (8, "cuda"), (256, "cuda")]
    choose(1, machines, work="another model")
    assert len(machines.calls) == 12


def test_a_prediction_far_off_is_said(caplog):
    said = []
    choice = choose(1000, Machines())
    with caplog.at_level(logging.WARNING):
        choice.check(1000, 1.4 * choice.predicted[choice.device.type], said.append)
        assert not said
        choice.check(1000, 2 * choice.predicted[choice.device.type], said.append)
    assert "instead of the 0.21 s predicted" in said[0] and "the choice of the device may be wrong" in caplog.text


def test_a_word_decides_without_measuring_and_what_cannot_be_moved_stays():
    machines = Machines()
    assert choose(1, machines, wanted="cuda").device == GPU
    assert choose(10**6, machines, movable=False).device == CPU
    assert choose_device("auto", 10**6, machines.trial, "w", True, None, lambda: [CPU]).device == CPU
    assert machines.calls == []
    with pytest.raises(InputError, match="there are cpu, and auto"):
        choose_device("cuda", 1, machines.trial, "w", True, None, lambda: [CPU])


def test_a_noisy_clock_gives_no_negative_cost():
    assert TimeModel.through(0.3, 0.2) == TimeModel(0.3, 0.0)
    model = TimeModel.through(0.1, 10.0)
    assert model.a == 0.0 and model.seconds(256) == pytest.approx(10.22, abs=0.05)


def test_fits_are_timed_with_the_callers_own_data(monkeypatch):
    """Both "devices" are this processor: the trial runs, both predictions are reported, the fits are as without."""
    monkeypatch.setattr(devices, "available_devices", lambda: [CPU, CPU])
    monkeypatch.setattr(choose_device, "__defaults__", (None, lambda: [CPU, CPU]))

    class Line:
        def __call__(self, parameters):
            return self.linearise(parameters)[:, 0]

        def linearise(self, parameters):
            x = torch.arange(5, dtype=torch.float64).expand(len(parameters), 5)
            return torch.stack([parameters[:, :1] * x, x], dim=1)

        def to(self, device):
            return self

    said = []
    data = 2.0 * torch.arange(5, dtype=torch.float64).expand(3, 5)
    fitted = batched_fit(Line(), data, 1.0, start=[0.0], say=said.append)
    torch.testing.assert_close(fitted.parameters, torch.full((3, 1), 2.0, dtype=torch.float64))
    assert "predicted" in said[0] and fitted.timings["predicted_cpu"] > 0 and fitted.device == "cpu"
