"""An impossible stage is refused before training, with a message that says what to change."""

import pytest

from pinn.configuration import SolveSettings
from training.configuration import validate
from training.errors import ConfigurationError

SSBROYDEN = {"_target_": "training.optimizers.ssbroyden.SSBroyden"}
LBFGS = {"_target_": "torch.optim.LBFGS"}
GAUSS_NEWTON = {"_target_": "training.optimizers.gauss_newton.GaussNewton"}


def run(**stages) -> dict:
    adam = {"steps": 5, "optimizer": {"_target_": "torch.optim.Adam", "lr": 1e-3}}
    return {
        "half": {"pipeline": "pinn.pipeline.run", "settings": "pinn.configuration.SolveSettings"},
        "run": {"experiment": "test"},
        "problem": {"_target_": "pinn.problems.burgers.Burgers"},
        "network": {"_target_": "pinn.networks.MLP"},
        "stages": {name: adam | changes for name, changes in stages.items()},
    }


def test_what_each_optimizer_asks_for():
    stages = {
        "a": {},
        "b": {"optimizer": LBFGS, "sampler": {"_target_": "pinn.sampling.Uniform", "n": 10}},
        "c": {"optimizer": SSBROYDEN},
        "d": {"optimizer": GAUSS_NEWTON},
    }
    settings = validate(run(**stages), SolveSettings)
    assert [stage.closure for stage in settings.stages.values()] == [None, "loss", "loss", "least_squares"]
    assert settings.stages["a"].precision == "64-true"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": LBFGS, "precision": "16"}, r"LBFGS .* 16-mixed .* use precision 64"),
        ({"optimizer": GAUSS_NEWTON, "precision": "bf16"}, r"GaussNewton .* bf16-mixed"),
        ({"optimizer": SSBROYDEN, "clip": 1.0}, r"SSBroyden chooses the length of its steps itself: leave out clip"),
        (
            {"optimizer": LBFGS, "sampler": {"_target_": "pinn.sampling.RAD", "n": 9, "every": 10, "candidates": 90}},
            r"frozen=20 steps, but the sampler moves them every 10",
        ),
        ({"optimizer": SSBROYDEN, "sampler": {"_target_": "pinn.sampling.R3", "n": 9}}, r"moves them every 1:"),
        ({"optimizer": {"_target_": "torch.optim.Adamm"}}, r"there is no optimizer torch\.optim\.Adamm"),
        ({"optimizer": {"_target_": "torch.optim.Adam", "lr": -1.0}}, r"Invalid learning rate"),
        ({"optimizer": {"_target_": "torch.optim.Adam", "lrr": 1e-3}}, r"lrr"),
        ({"optimizer": GAUSS_NEWTON | {"curvature_memory": 1.5}}, r"curvature_memory=1\.5 is not in \[0, 1\)"),
        (
            {"optimizer": GAUSS_NEWTON | {"curvature_memory": "high"}},
            r"built from curvature_memory='high'",
        ),
        ({"optimizer": GAUSS_NEWTON, "precision": "32"}, r"GaussNewton needs float64 parameters"),
        ({"optimizer": SSBROYDEN | {"update": "bfs"}}, r"update='bfs' is not one of"),
        ({"sampler": {"_target_": "pinn.sampling.RAD", "n": 0, "every": 10}}, r"n=0 is impossible"),
        ({"sampler": {"_target_": "os.system", "n": 1}}, r"must name a class of pinn\.sampling"),
        ({"balance": {"_target_": "pinn.weighting.GradNorm", "evry": 3}}, r"evry"),
        ({"schedule": {"_target_": "training.schedules.Cosine", "final": 2.0}}, r"final=2"),
        ({"loss_weights": {"momentum": -1.0}}, r"greater than or equal to 0"),
        (
            {"sampler": {"_target_": "pinn.sampling.Uncertainty", "n": 9, "every": 10, "candidates": 90}},
            r"Uncertainty asks how unsure the network is.*set ema_decay",
        ),
        ({"sampler": None}, r"stages\.first\.sampler is null, but there is no stage before it"),
        ({"stop": {"plateau_patience": 0}}, r"greater than or equal to 1"),
        ({"frozn": 3}, r"unknown key; did you mean stages\.first\.frozen\?"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_impossible_stage_is_named(changes, words):
    with pytest.raises(ConfigurationError, match=words) as caught:
        validate(run(first=changes), SolveSettings)
    assert "stages.first" in str(caught.value)


def test_a_later_stage_is_built_before_the_first_begins():
    with pytest.raises(ConfigurationError, match=r"stages\.last.*curvature_memory=2"):
        validate(run(first={}, last={"optimizer": GAUSS_NEWTON | {"curvature_memory": 2}}), SolveSettings)


def test_gauss_newton_may_see_new_points_at_every_step():
    sampler = {"_target_": "pinn.sampling.R3", "n": 9}
    settings = validate(run(first={"optimizer": GAUSS_NEWTON, "sampler": sampler}), SolveSettings)
    assert settings.stages["first"].closure == "least_squares"


def test_all_problems_are_named_at_once():
    config = run(first={"optimizer": LBFGS, "precision": "16"}, second={"steps": 0}, third={"chunk": 0})
    config["network"] = {"_target_": "os.system"}
    with pytest.raises(ConfigurationError) as caught:
        validate(config, SolveSettings)
    for name in ("stages.first", "stages.second.steps", "stages.third.chunk", "network"):
        assert name in str(caught.value)
