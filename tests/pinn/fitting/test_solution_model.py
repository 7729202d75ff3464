"""A solution with its coefficient as a coordinate: exact derivatives, and fits of many specimens."""

import json
import math

import numpy as np
import pytest
import torch

from pinn.fitting import batched_fit
from pinn.fitting.solution_model import SolutionModel
from pinn.networks import MLP
from pinn.problems.parametric_diffusion import ParametricDiffusion, solution
from pinn.solve.export import save_network
from pinn.solve.solution import Solution
from pinn.solve.trial import Trial
from pinn.specimens import pipeline
from pinn.specimens.measurements import check, measure
from pinn.specimens.settings import SpecimenRunSettings, SpecimensSettings
from training.composition import compose
from training.configuration import validate
from training.errors import ConfigurationError, InputError
from training.run import execute

SENSORS = torch.tensor([[0.2, 0.3], [0.5, 0.6], [0.9, 1.0]], dtype=torch.float64)


@pytest.fixture(scope="module")
def rough():
    """A network that solves nothing, which is as good for derivatives."""
    problem = ParametricDiffusion()
    bounds = list(problem.network_bounds.values())
    return Solution(problem, Trial(MLP(3, 1, width=8, depth=2, bounds=bounds, seed=3)).requires_grad_(False))


def test_values_and_derivatives_are_those_of_the_solution(rough):
    model = SolutionModel(rough, ["D"], SENSORS)
    at = torch.tensor([[0.05], [0.11], [0.19]], dtype=torch.float64)
    jet = model.linearise(at)
    assert jet.shape == (3, 2, 3) and model.names == ("D",)
    for row in range(3):
        values = rough(x=SENSORS[:, 0], D=at[row], t=SENSORS[:, 1])
        torch.testing.assert_close(jet[row, 0], values.u, rtol=1e-13, atol=1e-14)
        torch.testing.assert_close(jet[row, 1], values.derivative("u", "D"), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(model(at), jet[:, 0], rtol=1e-14, atol=1e-15)


def test_two_coordinates_may_be_parameters(rough):
    model = SolutionModel(rough, ["D", "t"], SENSORS[:, :1])
    at = torch.tensor([[0.05, 0.4]], dtype=torch.float64)
    jet = model.linearise(at)
    step = 1e-6
    for place in range(2):
        off = torch.zeros(1, 2, dtype=torch.float64)
        off[0, place] = step
        torch.testing.assert_close(
            jet[:, 1 + place], (model(at + off) - model(at - off)) / (2 * step), rtol=1e-6, atol=1e-8
        )


def test_specimens_of_the_network_itself_are_found_again(rough):
    """Measurements made by the model: the truth is a fit's minimum, and error bars are the scatter."""
    times = torch.linspace(0.1, 1, 12, dtype=torch.float64)
    sensors = torch.cartesian_prod(torch.tensor([0.2, 0.5, 0.7], dtype=torch.float64), times)
    model = SolutionModel(rough, ["D"], sensors)
    random = torch.Generator().manual_seed(0)
    truth = 0.05 + 0.1 * torch.rand(200, 1, generator=random, dtype=torch.float64)
    amplitude = 0.5 + torch.rand(200, 1, generator=random, dtype=torch.float64)
    sigma = 1e-4
    data = amplitude * model(truth) + sigma * torch.randn(200, 36, generator=random, dtype=torch.float64)
    fitted = batched_fit(
        model, data, sigma, start=[0.1], bounds=(model.lower, model.upper), linear_basis=torch.ones(36, 1), slots=64
    )
    assert bool(fitted.good.all())
    inside = fitted.status == 0
    pulls = ((fitted.parameters - truth) / fitted.errors)[inside]
    assert abs(float(pulls.mean())) < 0.3 and 0.85 < float(pulls.std()) < 1.15
    off = (fitted.coefficients - amplitude)[inside] / fitted.covariance[inside][:, 1, 1:].sqrt()
    assert 0.85 < float(off.std()) < 1.15


def test_the_problem_is_solved_by_its_solution():
    """``u_t = D u_xx`` by nested differentiation, and the conditions."""
    x, t, d = (torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in range(3))
    d = 0.02 + 0.18 * d
    x.requires_grad_(True), t.requires_grad_(True)
    u = solution(x, d, t)
    u_x, u_t = torch.autograd.grad(u.sum(), (x, t), create_graph=True)
    (u_xx,) = torch.autograd.grad(u_x.sum(), x)
    torch.testing.assert_close(u_t, d * u_xx, rtol=1e-12, atol=1e-13)
    with pytest.raises(ConfigurationError, match="no range of diffusion coefficients"):
        ParametricDiffusion(lowest=0.0)


def test_measurements_come_from_the_exact_solution():
    problem, settings = ParametricDiffusion(), SpecimensSettings(count=400)
    measured = measure(problem, settings)
    assert measured.data.shape == (400, 100) and measured.sensors.shape == (100, 2)
    x, t = measured.sensors.T
    noise = measured.data - measured.amplitude[:, None] * solution(x, measured.truth, t)
    assert float(noise.std()) == pytest.approx(0.02, rel=0.02) and abs(float(noise.mean())) < 5 * 0.02 / 200
    low, high = problem.domain.bounds["D"]
    assert float(measured.truth.min()) >= low + 0.1 * (high - low) - 1e-12
    torch.testing.assert_close(measure(problem, settings).data, measured.data, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"field": "w"}, "there is no field w"),
        ({"parameters": ("d",)}, "d is no coordinate of the problem"),
        ({"sensors": {"y": (0.5,)}}, "sensors sit in x"),
    ],
)
def test_impossible_specimens_are_refused(changes, words):
    with pytest.raises(ConfigurationError, match=words):
        check(ParametricDiffusion(), SpecimensSettings(**changes))


def test_wrong_sensors_are_named(rough):
    with pytest.raises(InputError, match="There is no coordinate 'E'"):
        SolutionModel(rough, ["E"], SENSORS)
    with pytest.raises(InputError, match="column for each of x, t"):
        SolutionModel(rough, ["D"], SENSORS[:, :1])
    with pytest.raises(InputError, match=r"sensor at \[0.5, 1.5\] is outside"):
        SolutionModel(rough, ["D"], torch.tensor([[0.5, 1.5]]))
    with pytest.raises(InputError, match="There is no field 'v'"):
        SolutionModel(rough, ["D"], SENSORS, "v")


def test_a_run_fits_with_the_solution_it_has_exported(rough, tmp_path, monkeypatch, capsys):
    """The equation's own part of the run has its own tests; here it exports a network that solves nothing."""

    def export(settings, context):
        save_network(context.folder.path / "network.safetensors", rough.problem, rough.network, {})
        return {"relative_l2": 1.0}

    monkeypatch.setattr(pipeline.solving, "run", export)
    words = [
        "experiment=diffusion_specimens", "tracker=none", "hardware=cpu", "hardware.threads=1", "run.name=run",
        f"run.root={tmp_path}", "specimens.count=60", "specimens.gates.specimen_pull_mean=null",
        "specimens.gates.specimen_pull_spread=null",
    ]  # fmt: skip
    summary = execute(compose(words))
    folder = tmp_path / "diffusion_specimens" / "run"
    for name in ("specimens.html", "specimens.csv", "specimens.npz"):
        assert (folder / name).stat().st_size > 100, name
    known = json.loads((folder / "specimens.json").read_text())
    assert known["passed"] and known["specimens"] == 60 and summary["relative_l2"] == 1.0
    assert sum(known["ended"].values()) == 60 and set(known["ended"]) <= {"converged", "at_bound"}
    with np.load(folder / "specimens.npz", allow_pickle=False) as table:
        # what was fitted is what is in the file: the network's best D and amplitude for every specimen
        assert table["D"].shape == (60,) and table["covariance"].shape == (60, 2, 2)
    assert execute(compose(words)) == summary
    assert "The specimens are fitted" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_whole_experiment_passes_its_gates(tmp_path):
    """1,000 specimens; two minutes on two cores."""
    summary = execute(compose(["experiment=diffusion_specimens", "tracker=none", f"run.root={tmp_path}"]))
    assert summary["passed"] and summary["specimens"] == 1000 and summary["specimens_failed_percent"] == 0


def test_the_experiment_is_what_its_settings_say():
    chosen = validate(compose(["experiment=diffusion_specimens"]), SpecimenRunSettings)
    assert chosen.specimens.count == 1000 and chosen.problem["_target_"].endswith("ParametricDiffusion")
    assert chosen.validation.gates.relative_l2 == 1e-3 and math.isclose(chosen.specimens.noise, 0.02)
