"""Every shipped problem: its config builds it, its solution solves it, and its conditions can be hard or soft."""

import inspect
from pathlib import Path

import pytest
import torch
import yaml
from known_fields import exact_fields, true_parameters

from pinn.conditions import Data, Periodic
from pinn.population_mean import PopulationMean
from pinn.problems.schrodinger import Schrodinger
from pinn.references.reference import Exact
from pinn.trial_fields import parameters_at_start
from training.configuration import instantiate

CONFIGS = sorted((Path(__file__).parents[3] / "configs" / "problem").glob("*.yaml"))
EXACT = [
    "advection",
    "diffusion",
    "heat",
    "helmholtz",
    "inverse_diffusion_coefficient",
    "log_coupled_game",
    "mean_field_game",
    "parametric_diffusion",
    "poisson",
    "poisson_high_dimensional",
    "reaction",
    "schrodinger",
    "wave",
]


def built(name: str, **changes):
    (path,) = (path for path in CONFIGS if path.stem == name)
    return instantiate({**yaml.safe_load(path.read_text()), **changes}, allowed=["pinn.problems."])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
class TestEveryProblem:
    def test_its_config_holds_every_argument_with_its_default_and_a_comment(self, path):
        text = path.read_text()
        spec = yaml.safe_load(text)
        problem = instantiate(spec, allowed=["pinn.problems."])
        defaults = {
            name: parameter.default for name, parameter in inspect.signature(type(problem).__init__).parameters.items()
        }
        defaults.pop("self")
        assert {key: value for key, value in spec.items() if key != "_target_"} == defaults
        assert problem.target == spec["_target_"] and problem.arguments == defaults
        assert text.startswith("# ") and text.count("\n# ") >= min(len(defaults), 1)

    def test_says_what_it_is(self, path):
        problem = built(path.stem)
        module = inspect.getdoc(inspect.getmodule(type(problem)))
        assert problem.title and problem.formula and "``" in module
        assert any(word in module for word in ("Benchmark of", "standard test", "Manufactured for")), "no origin"
        points = problem.evaluation_points()
        assert len(points) > 5_000 and problem.domain.contains(points, 1e-9).all()

    def test_hard_and_soft_state_the_same_conditions(self, path):
        problem = built(path.stem)
        if "hard" not in problem.arguments:
            assert not problem.hard_conditions
            return
        soft = built(path.stem, hard=False)
        assert problem.hard_conditions and not soft.hard_conditions
        assert [type(c) for c in problem.conditions] == [type(c) for c in soft.conditions]

    def test_has_a_reference_for_all_its_fields(self, path):
        problem = built(path.stem)
        assert set(problem.reference.fields) <= set(problem.fields)
        assert problem.reference.coordinates == problem.coordinates


@pytest.mark.parametrize("name", EXACT)
class TestEveryExactSolution:
    def test_satisfies_its_equations(self, name):
        problem = built(name)
        points = problem.domain.sample(200, torch.Generator().manual_seed(0))
        fields, columns = exact_fields(problem, points)
        for term, residual in problem.residuals(fields, columns, true_parameters(problem)).items():
            scale = max(1.0, float(max(field.value.detach().abs().max() for field in fields.values())))
            assert residual.abs().max() < 1e-8 * scale, term

    def test_satisfies_its_conditions(self, name):
        problem = built(name, **({"hard": False} if "hard" in built(name).arguments else {}))
        generator = torch.Generator().manual_seed(1)
        for condition in problem.conditions:
            given = condition.sample(problem.domain, 50, generator)
            fields, columns = exact_fields(problem, given.points)
            for term, residual in condition.residuals(fields, columns, given, true_parameters(problem)).items():
                # the Gaussian of the reaction is even about the middle of its interval; boxes end in tails of agents
                bound = 2e-6 if isinstance(condition, PopulationMean) else 1e-12
                assert residual.abs().max() < bound, term

    def test_is_the_reference_and_states_rounding_as_its_floor(self, name):
        problem = built(name)
        assert isinstance(problem.reference, Exact) and problem.reference.floor < 1e-13
        values = problem.reference.values(problem.evaluation_points())
        assert set(values) == set(problem.fields)
        assert all(v.isfinite().all() and v.square().mean() > 1e-6 for v in values.values())


def test_all_exact_references_are_in_the_list():
    assert [path.stem for path in CONFIGS if isinstance(built(path.stem).reference, Exact)] == EXACT


def test_the_periodic_schrodinger_problem_is_another_problem():
    problem = Schrodinger(periodic=True)
    assert problem.periods == {"x": 10.0}
    assert any(isinstance(c, Periodic) for c in problem.conditions)
    assert not isinstance(problem.reference, Exact)
    # a hard start would keep the kink of 2 sech x at the connected ends for ever
    assert [c.name for c in problem.soft_conditions] == ["initial"]


def test_no_hard_condition_contains_the_solution():
    # with a network of zero, the form of the solution is the lift: far from the reference in every problem
    for path in CONFIGS:
        problem = built(path.stem)
        if not isinstance(problem.reference, Exact) or not problem.hard_conditions:
            continue
        points = problem.domain.sample(300, torch.Generator().manual_seed(2))
        columns = {name: column[:, None] for name, column in problem.domain.columns(points).items()}
        truth = problem.reference.values(points)
        for field, (lift, factor) in problem.ansatz_terms(columns, parameters_at_start(problem)).items():
            if factor is None or isinstance(lift, type(None)):
                continue
            error = (lift[:, 0] - truth[field]).norm() / truth[field].norm()
            # the value of the log-coupled game is its end but for a constant that grows in time: 5 % of it
            assert error > 0.03, (path.stem, field)


def test_measurements_are_conditions_of_the_inverse_problems():
    for name, count in (("inverse_burgers", 2000), ("inverse_diffusion_coefficient", 400)):
        (data,) = (c for c in built(name).conditions if isinstance(c, Data))
        assert len(data.points) == count
