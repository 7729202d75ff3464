"""Every experiment, problem and list of stages of this half can be run as it stands, alone and with each other."""

from functools import cache

import pytest

from pinn.configuration import SolveSettings
from pinn.pipeline import build_problem, check
from pinn.solve.collocation import Collocation
from pinn.solve.objective import Objective, Weights
from pinn.solve.system import System
from pinn.solve.trial import untrained
from training.composition import compose, configs_folder
from training.configuration import validate

FOLDER = configs_folder()
EXPERIMENTS = sorted(
    path.stem for path in (FOLDER / "experiment").glob("*.yaml") if "override /half: pinn" in path.read_text()
)
ADAM = ("adam", "adam_lbfgs", "adam_ssbroyden", "cavity")
PROBLEMS = sorted(path.stem for path in (FOLDER / "problem").glob("*.yaml"))
STAGES = sorted(path.stem for path in (FOLDER / "stages").glob("*.yaml") if "_newton" in path.stem or path.stem in ADAM)
NETWORKS = sorted(path.stem for path in (FOLDER / "network").glob("*.yaml"))


@cache
def settings(*words: str) -> SolveSettings:
    return validate(compose(words), SolveSettings)


def test_there_is_something_to_run():
    assert {"burgers", "solve"} <= set(EXPERIMENTS) and {*ADAM, "adam_gauss_newton"} <= set(STAGES)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_possible(name):
    chosen = settings(f"experiment={name}")
    assert chosen.half.pipeline == "pinn.pipeline.run" and chosen.run.experiment == name
    system = System(build_problem(chosen))
    check(chosen, system)
    trial = untrained(system.problem, chosen.network, chosen.seed)
    weights = sum(parameter.numel() for parameter in trial.parameters())
    for stage in chosen.stages.values():
        # a dense matrix of 4 GB is where the second-order optimizers refuse
        assert stage.closure is None or "LBFGS" in stage.optimizer["_target_"] or 8 * weights**2 < 4e9


@pytest.mark.parametrize("stages", STAGES)
@pytest.mark.parametrize("experiment", ["burgers", "solve"])
def test_one_word_changes_the_stages_of_an_experiment(experiment, stages):
    assert settings(f"experiment={experiment}", f"stages={stages}").stages


PAIRS = [(name, "mlp") for name in PROBLEMS]
# one of each kind: a scalar in space and time, several fields, a periodic coordinate
PAIRS += [(name, network) for name in ("burgers", "lid_driven_cavity", "advection") for network in NETWORKS]


@pytest.mark.parametrize(("problem", "network"), sorted(set(PAIRS)))
def test_problems_and_networks_have_a_loss_together(problem, network):
    chosen = settings("experiment=solve", f"problem={problem}", f"network={network}")
    system = System(_problem(problem))
    trial = untrained(system.problem, {**chosen.network, "width": 8, "depth": 1}, 0)
    stage = chosen.stages["adam"].model_copy(
        update={"sampler": {"_target_": "pinn.sampling.Uniform", "n": 20}, "condition_points": 6}
    )
    collocation = Collocation(system.problem, {"adam": stage}, 0)
    collocation.enter_stage(stage)
    groups = [system.equation_points(collocation.sampler.points)]
    groups += [system.condition_points(name, given) for name, given in collocation.conditions.items()]
    objective = Objective(system, trial, groups, Weights(dict.fromkeys(system.terms, 1.0)), 100)
    terms = objective.gradients()
    assert set(terms) == {"loss", *system.terms} and all(bool(value.isfinite()) for value in terms.values())
    # every weight is moved, but for scales and blocks that start at zero by design
    assert any(float(p.grad.abs().max()) > 0 for p in trial.parameters() if p.grad is not None)


@cache
def _problem(name: str):
    return build_problem(settings("experiment=solve", f"problem={name}"))
