"""What a stage does with its points, precisions, schedules and ends; and what it does not survive."""

import math
import re

import pytest
import torch
from small_problems import Breaking, Unseen
from small_runs import ADAM, GAUSS_NEWTON, HALVES, LBFGS, QUASI_NEWTON, folder, rows, small_config, train

from pinn.pipeline import LAST_GOOD
from pinn.residuals import default_chunk
from pinn.solve import objective as objective_module
from pinn.solve.collocation import Collocation
from pinn.solve.export import load
from pinn.solve.module import SolveModule
from pinn.solve.system import System
from training.checkpoints import find_checkpoint
from training.errors import ConfigurationError
from training.module import Diverged
from training.run import execute

PLAIN = ADAM | {"balance": {"_target_": "pinn.weighting.Fixed"}, "ema_decay": None}
LONG = PLAIN | {"steps": 150, "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01}, "validate_every": 1000}


@pytest.mark.parametrize("kind", [PLAIN, QUASI_NEWTON, GAUSS_NEWTON], ids=["adam", "ssbroyden", "gauss_newton"])
def test_the_loss_is_evaluated_on_exactly_the_points_of_the_sampler(tmp_path, monkeypatch, kind):
    seen: list[tuple[int, torch.Tensor]] = []
    prepared = objective_module.PointGroup.prepared
    modules: list[SolveModule] = []
    advance = SolveModule.advance

    def note_module(self, batch):
        modules[:] = [self]
        return advance(self, batch)

    def note_points(self, problem, trial, start, stop):
        if modules and self.condition is None and self is modules[0].task.objective.groups[0]:
            seen.append((modules[0].trainer.global_step, self.points[start:stop]))
        return prepared(self, problem, trial, start, stop)

    sets: dict[int, torch.Tensor] = {}
    resample = Collocation.resample

    def note_sampler(self, step, *arguments):
        moved = resample(self, step, *arguments)
        sets[step] = self.sampler.points
        return moved

    monkeypatch.setattr(SolveModule, "advance", note_module)
    monkeypatch.setattr(objective_module.PointGroup, "prepared", note_points)
    monkeypatch.setattr(Collocation, "resample", note_sampler)
    # one chunk, so that every evaluation is on the whole set
    train(tmp_path, "Bump", {"only": kind | {"chunk": 1000, "validate_every": 1000}})
    steps = kind["steps"]
    assert {step for step, _ in seen} == set(sets) == set(range(steps))
    for step, points in seen:
        assert torch.equal(points, sets[step])
    every = kind["sampler"].get("every", 1)
    for step in range(1, steps):
        assert torch.equal(sets[step], sets[step - 1]) == (step % every != 0)


@pytest.mark.parametrize(
    ("stages", "bound"),
    [
        ({"adam": LONG}, 0.1),
        ({"ssbroyden": QUASI_NEWTON | {"steps": 60, "frozen": 20, "sampler": LONG["sampler"] | {"every": 20}}}, 1e-3),
        ({"lbfgs": LBFGS | {"steps": 40, "sampler": {"_target_": "pinn.sampling.Uniform", "n": 40}}}, 1e-3),
        ({"gauss_newton": GAUSS_NEWTON | {"steps": 25}}, 1e-5),
    ],
    ids=["adam", "ssbroyden", "lbfgs", "gauss_newton"],
)
def test_every_kind_of_optimizer_solves_a_small_problem(tmp_path, stages, bound):
    # a network of 61 weights; Gauss-Newton comes to its floor, the others are on their way
    assert train(tmp_path, "Bump", stages).latest_validation["relative_l2"] < bound


@pytest.mark.parametrize("precision", ["64", "32", "bf16", "16"])
def test_every_precision_trains_its_own_type(tmp_path, precision):
    module = train(tmp_path, "Bump", {"only": LONG | {"precision": precision, "log_every": 1}})
    losses = rows(tmp_path, "train/loss")
    assert losses[150] < 0.2 * losses[1]
    expected = torch.float64 if precision == "64" else torch.float32
    assert {p.dtype for p in module.model.parameters()} == {expected}
    state = module.optimizers(use_pl_optimizer=False).state
    assert {entry["exp_avg"].dtype for entry in state.values()} == {expected}
    assert bool(rows(tmp_path, "loss_scale")) == (precision == "16")


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("16", torch.float16), ("32", None)])
def test_mixed_products_are_computed_in_the_type_that_was_asked_for(tmp_path, monkeypatch, precision, dtype):
    seen = set()
    residuals = System.residuals

    def spy(self, trial, group, start, stop):
        on = torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()
        seen.add(torch.get_autocast_dtype("cpu") if on else None)
        return residuals(self, trial, group, start, stop)

    monkeypatch.setattr(System, "residuals", spy)
    train(tmp_path, "Bump", {"only": PLAIN | {"steps": 3, "precision": precision}})
    assert seen - {None} == ({dtype} if dtype else set())


def test_an_overflow_in_float16_skips_the_step_and_lowers_the_scale(tmp_path, monkeypatch):
    from pinn.solve import scaling

    monkeypatch.setattr(scaling, "FIRST", 2.0**40)
    monkeypatch.setattr(scaling, "LARGEST", 2.0**40)
    module = train(tmp_path, "Bump", {"only": LONG | {"precision": "16", "log_every": 1}})
    assert module.scale.skipped >= 1 and module.scale.value <= 2.0**39
    losses = rows(tmp_path, "train/loss")
    # the weights stood still while the scale was too large
    assert losses[2] == losses[1] and losses[150] < 0.5 * losses[1]


@pytest.mark.parametrize("kind", [PLAIN, QUASI_NEWTON, GAUSS_NEWTON], ids=["adam", "ssbroyden", "gauss_newton"])
def test_a_loss_that_is_not_finite_names_its_term_and_keeps_the_last_good_weights(tmp_path, kind):
    stages = {"only": kind | {"steps": 50, "chunk": 1000, "balance": {"_target_": "pinn.weighting.Fixed"}}}
    config = small_config(tmp_path, "Breaking", stages, problem__after=12, checkpoint_seconds=0)
    with pytest.raises(Diverged, match=r"not finite at step \d+ of stage only.*last_good") as caught:
        execute(config, HALVES)
    step = int(re.search(r"Training diverged: second is not finite at step (\d+)", str(caught.value))[1])
    _, content = find_checkpoint(folder(tmp_path), print)
    assert content["limbeck"]["steps"] == step > 1
    assert all(value.isfinite().all() for key, value in content["state_dict"].items() if key != "_extra_state")
    kept = load(folder(tmp_path) / LAST_GOOD, Breaking(after=1))
    trained = {key.removeprefix("model."): v for key, v in content["state_dict"].items() if key.startswith("model.")}
    # the last weights with a loss are those before the last step
    assert all(value.isfinite().all() for value in kept.network.state_dict().values())
    assert any(not torch.equal(trained[key], value) for key, value in kept.network.state_dict().items())


@pytest.mark.parametrize(
    ("problem", "changes", "words"),
    [
        (Unseen, {}, r"second is not finite \(first at x=0\.\d+\) at step 4 of stage only"),
        (Breaking, {"balance": ADAM["balance"]}, r"GradNorm: .* of second is nan at"),
    ],
    ids=["where the sampler looks", "where the balance looks"],
)
def test_numbers_that_are_not_finite_between_two_steps_end_a_run_as_those_in_a_step(tmp_path, problem, changes, words):
    arguments = {"problem__after": 0} if problem is Breaking else {}
    config = small_config(tmp_path, problem.__name__, {"only": PLAIN | changes}, **arguments)
    with pytest.raises(Diverged, match=f"Training diverged: {words}.*last_good"):
        execute(config, HALVES)
    kept = load(folder(tmp_path) / LAST_GOOD, problem(1))
    assert all(value.isfinite().all() for value in kept.network.state_dict().values())


def test_points_go_where_residual_and_disagreement_are_large(tmp_path, monkeypatch):
    modules: list[SolveModule] = []
    scores: list[tuple[float, float]] = []
    advance, resample = SolveModule.advance, Collocation.resample

    def note_module(self, batch):
        modules[:] = [self]
        return advance(self, batch)

    def compare(self, step, residual, uncertainty=None, values=None):
        if not self.sampler.due(step):
            return resample(self, step, residual, uncertainty, values)
        trained, average = modules[0].model, modules[0].average.model
        points = self.problem.domain.sample(500, torch.Generator().manual_seed(1))
        apart = (modules[0].system.values(trained, points) - modules[0].system.values(average, points)).abs()[:, 0]
        # the deviation of two numbers is half of their difference
        torch.testing.assert_close(uncertainty(points), apart / 2, rtol=1e-9, atol=1e-15)
        moved = resample(self, step, residual, uncertainty, values)
        score = [(residual(p) * uncertainty(p)).mean().item() for p in (self.sampler.points, points)]
        scores.append(tuple(score))
        return moved

    monkeypatch.setattr(SolveModule, "advance", note_module)
    monkeypatch.setattr(Collocation, "resample", compare)
    sampler = {"_target_": "pinn.sampling.Uncertainty", "n": 100, "every": 4, "candidates": 2000, "k": 2.0, "c": 0.0}
    train(tmp_path, "Bump", {"only": PLAIN | {"sampler": sampler, "ema_decay": 0.9}})
    assert len(scores) == 2
    # the density is the square of what is averaged here
    assert all(chosen > 1.2 * everywhere > 0 for chosen, everywhere in scores)


def test_a_stage_without_a_chunk_takes_what_fits_the_cache(tmp_path):
    module = train(tmp_path, "Bump", {"only": PLAIN | {"chunk": None, "steps": 2}})
    assert module.task.chunk == default_chunk(module.model.network, module.system.layout) > 1000


def test_a_stage_ends_at_its_target_and_the_next_one_goes_on_with_its_points(tmp_path, capsys):
    first = LONG | {"steps": 5000, "stop": {"target": 1.0}, "sampler": {"_target_": "pinn.sampling.Uniform", "n": 33}}
    module = train(tmp_path, "Bump", {"first": first, "second": PLAIN | {"steps": 4, "sampler": None}})
    assert "has reached its target 1" in capsys.readouterr().out
    steps = module.record["first"]["steps"]
    assert 5 < steps < 5000 and max(rows(tmp_path, "train/loss")) == steps + 4
    assert steps in rows(tmp_path, "validation/relative_l2")
    assert set(rows(tmp_path, "points").values()) == {33.0}
    assert module.record["second"]["points"] == 33
    assert module.record["second"]["relative_l2"] == module.latest_validation["relative_l2"]


def test_a_plateau_lowers_the_rate(tmp_path):
    schedule = {"_target_": "training.schedules.Plateau", "patience": 2, "factor": 0.5, "threshold": 0.9}
    train(tmp_path, "Bump", {"only": PLAIN | {"schedule": schedule, "log_every": 1, "steps": 12}})
    rates = list(rows(tmp_path, "learning_rate").values())
    assert rates[0] == 0.02 and rates[-1] <= 0.02 / 8 and sorted(rates, reverse=True) == rates


def test_a_schedule_that_observes_something_unknown_is_refused(tmp_path):
    schedule = {"_target_": "training.schedules.Plateau", "observes": "relativ_l2"}
    with pytest.raises(ConfigurationError, match=r"stages\.only\.schedule\.observes.*did you mean relative_l2"):
        train(tmp_path, "Bump", {"only": PLAIN | {"schedule": schedule}})


def test_validation_judges_the_average_where_there_is_one(tmp_path):
    module = train(tmp_path, "Bump", {"only": LONG | {"ema_decay": 0.99}})
    assert module.judged_model is module.average.model
    error = {}
    x = torch.linspace(0, 1, 1001, dtype=torch.float64)
    exact = torch.sin(torch.pi * x)
    for name, trial in (("average", module.average.model), ("trained", module.model)):
        u = module.judge.values(trial)["u"]
        error[name] = float((u - exact).norm() / exact.norm())
    assert module.latest_validation["relative_l2"] == pytest.approx(error["average"], rel=1e-9)
    assert not math.isclose(error["trained"], error["average"], rel_tol=1e-3)


@pytest.mark.parametrize("kind", ["Uniform", "LatinHypercube", "Sobol", "RAD", "RARD", "RARG", "R3", "Uncertainty"])
def test_every_sampler_serves_a_stage(tmp_path, kind):
    changes = {"RARD": {"add": 5, "maximum": 50}, "RARG": {"add": 5, "maximum": 50}}.get(kind, {})
    candidates = {"candidates": 120} if kind in ("RAD", "RARD", "RARG", "Uncertainty") else {}
    sampler = {"_target_": f"pinn.sampling.{kind}", "n": 40, "every": 4, **candidates, **changes}
    module = train(tmp_path, "Decay", {"only": PLAIN | {"sampler": sampler, "ema_decay": 0.9}})
    assert module.collocation.sampler.changes == 2
    assert rows(tmp_path, "points")[12] == (50 if changes else 40)


def test_term_weights_that_name_nothing_are_refused_before_training(tmp_path):
    from pinn.configuration import SolveSettings
    from pinn.pipeline import build_problem, check
    from training.configuration import validate

    stages = {"only": PLAIN | {"loss_weights": {"initial.v": 1.0}}}
    settings = validate(small_config(tmp_path, "Decay", stages), SolveSettings)
    with pytest.raises(ConfigurationError, match=r"stages\.only\.loss_weights: there is no term initial\.v; did you"):
        check(settings, System(build_problem(settings)))
