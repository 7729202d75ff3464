"""A network in a file: it comes back with the same numbers, and a file that is something else says so."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_problems import Bump, Decay

import pinn
from pinn.problems.burgers import Burgers
from pinn.solve.export import save_network
from pinn.solve.system import System
from pinn.solve.trial import untrained
from training.errors import InputError
from training.model_file import METADATA_KEY

NETWORK = {"_target_": "pinn.networks.MLP", "width": 6, "depth": 2}


@pytest.fixture(scope="module")
def burgers(tmp_path_factory):
    """An untrained network for Burgers' equation, and its file."""
    problem = Burgers(viscosity=0.1)
    trial = untrained(problem, NETWORK, seed=4)
    path = tmp_path_factory.mktemp("export") / "network.safetensors"
    save_network(path, problem, trial, {"relative_l2": 0.5})
    return problem, trial, path


def test_a_solution_comes_back_with_problem_and_accuracy(burgers):
    problem, trial, path = burgers
    solution = pinn.load(path)
    assert isinstance(solution.problem, Burgers) and solution.problem.viscosity == 0.1
    assert solution.metadata["accuracy"] == {"relative_l2": 0.5}
    assert pinn.load(path.parent).path == path
    points = problem.domain.sample(50, torch.Generator().manual_seed(0))
    x, t = points.unbind(1)
    coordinates = {"x": points[:, :1], "t": points[:, 1:]}
    with torch.no_grad():
        oracle = problem.ansatz({"u": trial.network(points)}, coordinates)["u"].squeeze(1)
    at = solution(x=x, t=t)
    torch.testing.assert_close(at.u, oracle, rtol=1e-13, atol=1e-14)
    # the hard conditions hold exactly
    assert float(solution(x=0.3, t=0.0).u) == pytest.approx(-np.sin(0.3 * np.pi), abs=1e-15)
    assert np.abs(solution(x=[-1.0, 1.0], t=0.7).u).max() < 1e-14


def test_derivatives_satisfy_the_equation_they_are_asked_for(burgers):
    problem, trial, path = burgers
    solution = pinn.load(path)
    points = problem.domain.sample(50, torch.Generator().manual_seed(0))
    x, t = points.unbind(1)
    at = solution(x=x, t=t)
    system = System(problem)
    residual = system.residuals(trial, system.equation_points(points), 0, 50)["momentum"].detach()
    torch.testing.assert_close(at.u_t + at.u * at.u_x - 0.1 * at.u_xx, residual, rtol=1e-11, atol=1e-12)
    step = 1e-5
    differences = (solution(x=x + step, t=t).u - solution(x=x - step, t=t).u) / (2 * step)
    inside = (x.abs() < 0.99) & torch.isfinite(differences)
    # second-order differences with a step of 1e-5 are good to 1e-9 of u''' and 1e-11 of rounding
    torch.testing.assert_close(at.u_x[inside], differences[inside], rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(at.u_xt, at.derivative("u", "t", "x"), rtol=0, atol=0)
    torch.testing.assert_close(at.u_laplacian, at.u_xx, rtol=1e-12, atol=1e-13)


def test_shapes_and_types_follow_the_coordinates(burgers):
    solution = pinn.load(burgers[2])
    grid = solution(x=np.linspace(-1, 1, 5)[:, None], t=np.linspace(0, 1, 3), chunk=4)
    assert isinstance(grid.u, np.ndarray) and grid.u.shape == (5, 3) and grid.u.dtype == np.float64
    single = solution(x=torch.linspace(-1, 1, 5, dtype=torch.float32), t=0.5)
    assert isinstance(single.u, torch.Tensor) and single.u.dtype == torch.float32 and not single.u.requires_grad
    assert solution(x=0, t=1).u.shape == ()
    whole = solution(x=np.linspace(-1, 1, 100), t=0.5)
    parts = solution(x=np.linspace(-1, 1, 100), t=0.5, chunk=7)
    # products of other sizes are summed in another order
    np.testing.assert_allclose(parts.u_xx, whole.u_xx, rtol=1e-12, atol=1e-13)


def test_there_is_no_solution_outside_the_domain(burgers):
    solution = pinn.load(burgers[2])
    u = solution(x=[-1.1, 0.0, 0.5, 0.5], t=[0.5, 0.5, 1.5, 1.0]).u
    assert np.isnan(u).tolist() == [True, False, True, False]


def test_memory_is_bounded_by_the_chunk(burgers):
    solution = pinn.load(burgers[2])
    sizes = []
    body = type(solution.network.network).body

    def spy(network, features):
        sizes.append(features.n_points)
        return body(network, features)

    solution.network.network.body = lambda features: spy(solution.network.network, features)
    solution(x=np.zeros(2500), t=0.5, chunk=1000).u  # noqa: B018
    assert sizes == [1000, 1000, 500]


@pytest.mark.parametrize(
    ("coordinates", "words"),
    [
        ({"x": 0.0}, "t is not given"),
        ({"x": 0.0, "t": 0.0, "z": 1.0}, "no coordinate 'z'"),
        ({"x": [0.0, 1.0], "t": [0.0, 0.1, 0.2]}, r"shapes of the coordinates do not fit together: x \(2,\), t \(3,\)"),
        ({"x": "a", "t": 0.0}, "x is a number or an array of numbers; got str"),
        ({"x": 0.0, "t": 0.0, "chunk": 0}, "chunk=0"),
    ],
)
def test_wrong_coordinates_are_named(burgers, coordinates, words):
    with pytest.raises(InputError, match=words):
        pinn.load(burgers[2])(**coordinates)


def test_a_wrong_field_or_derivative_is_named(burgers):
    at = pinn.load(burgers[2])(x=0.0, t=0.5)
    with pytest.raises(AttributeError, match="v_x is neither a field nor a derivative of one"):
        at.v_x  # noqa: B018
    with pytest.raises(AttributeError, match="u_z"):
        at.u_z  # noqa: B018
    with pytest.raises(InputError, match="no coordinate 'y'"):
        at.derivative("u", "y")


def test_a_problem_of_ones_own_is_handed_over(tmp_path):
    path = tmp_path / "network.safetensors"
    problem = Decay()
    trial = untrained(problem, NETWORK, seed=0)
    with torch.no_grad():
        trial.unknowns["kappa"].fill_(0.3)
    save_network(path, problem, trial, {})
    with pytest.raises(InputError, match=r"Decay\(\) .* hand it over: pinn\.load\(path, problem=…\)"):
        pinn.load(path)
    solution = pinn.load(path, Decay())
    assert solution.parameters == {"kappa": pytest.approx(0.1 * np.exp(0.3), rel=1e-15)}
    assert solution.metadata["parameters"] == solution.parameters
    with pytest.raises(InputError, match="solves another problem: its class is Decay, not Bump"):
        pinn.load(path, Bump())


def rewritten(path, target, **changes) -> None:
    """The file with another document."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        document = json.loads(file.metadata()[METADATA_KEY])
    save_file(load_file(path), target, metadata={METADATA_KEY: json.dumps(document | changes)})


def test_files_that_are_something_else_say_so(burgers, tmp_path):
    *_, path = burgers
    with pytest.raises(InputError, match=r"There is no network at .*check the path"):
        pinn.load(tmp_path / "nothing.safetensors")
    with pytest.raises(InputError, match="the run has not exported its network yet"):
        pinn.load(tmp_path)
    target = tmp_path / "file"
    target.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        pinn.load(target)
    save_file({"a": torch.ones(2)}, target)
    with pytest.raises(InputError, match="without Limbeck's metadata"):
        pinn.load(target)
    rewritten(path, target, format_version=99)
    with pytest.raises(InputError, match="newer Limbeck"):
        pinn.load(target)
    rewritten(path, target, teacher={"name": "GFN2"})
    with pytest.raises(InputError, match="holds a force field"):
        pinn.load(target)
    rewritten(path, target, fields=3)
    with pytest.raises(InputError, match=r"are wrong for network\.safetensors: fields"):
        pinn.load(target)
    architecture = pinn.load(path).metadata["architecture"]
    rewritten(path, target, architecture=architecture | {"width": 7})
    with pytest.raises(InputError, match=r"do not fit its architecture: .* has the shape"):
        pinn.load(target)
    problem = {"target": "os.system", "arguments": {"command": "true"}, "described": "mischief"}
    rewritten(path, target, problem=problem)
    with pytest.raises(InputError, match="cannot be constructed from the file alone"):
        pinn.load(target)


def test_weights_that_are_not_finite_are_not_written(tmp_path):
    problem = Bump()
    trial = untrained(problem, NETWORK, seed=0)
    with torch.no_grad():
        next(trial.parameters())[0, 0] = torch.nan
    with pytest.raises(InputError, match=r"The network is not written: .* not finite"):
        save_network(tmp_path / "network.safetensors", problem, trial, {})
    assert not (tmp_path / "network.safetensors").exists()
