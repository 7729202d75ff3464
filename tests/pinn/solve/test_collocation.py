"""Points follow from seed and stage alone, move when the sampler says so, and come back from a checkpoint."""

import pytest
import torch
from small_problems import Bump, Decay

from pinn.solve.collocation import Collocation
from pinn.solve.judgement import Judge, describe_errors
from pinn.solve.system import System
from training.errors import ConfigurationError

UNIFORM = {"_target_": "pinn.sampling.Uniform", "n": 30}


def residual(points: torch.Tensor) -> torch.Tensor:
    return points[:, 0].square()


def test_points_depend_on_seed_and_stage_and_on_nothing_else(stage):
    stages = {"a": stage(), "b": stage()}

    def points(seed: int, *names: str) -> torch.Tensor:
        collocation = Collocation(Decay(), stages, seed)
        for name in names:
            collocation.enter_stage(stages[name])
        return collocation.sampler.points

    assert torch.equal(points(1, "a", "b"), points(1, "b"))
    assert not torch.equal(points(1, "a"), points(1, "b"))
    assert not torch.equal(points(1, "a"), points(2, "a"))


def test_a_stage_without_a_sampler_keeps_the_points_of_the_one_before(stage):
    stages = {"a": stage(sampler=UNIFORM), "b": stage(sampler=None), "c": stage()}
    collocation = Collocation(Decay(), stages, 0)
    for name, entered in stages.items():
        before = collocation.sampler.points if name != "a" else None
        collocation.enter_stage(entered)
        assert before is None or torch.equal(collocation.sampler.points, before) == (name == "b")
    assert type(collocation.sampler).__name__ == "RAD"


def test_points_and_their_future_come_back_from_a_checkpoint(stage):
    stages = {"a": stage(sampler=UNIFORM), "b": stage(sampler=None), "c": stage()}
    for name in ("b", "c"):
        one = Collocation(Decay(), stages, 0)
        one.enter_stage(stages["a"])
        one.enter_stage(stages[name])
        one.resample(5, residual)
        saved = one.state_dict()
        other = Collocation(Decay(), stages, 0)
        other.enter_stage(stages[name])
        other.load_state_dict(saved)
        for step in (5, 6, 10, 15):
            assert one.resample(step, residual) == other.resample(step, residual) == (name == "c" and step > 6)
            assert torch.equal(one.sampler.points, other.sampler.points)
        for condition, points in one.conditions.items():
            assert torch.equal(points.points, other.conditions[condition].points)
            assert points.group == other.conditions[condition].group


def test_a_checkpoint_of_another_sampler_is_refused(stage):
    stages = {"a": stage(sampler=UNIFORM), "b": stage()}
    one, other = Collocation(Decay(), stages, 0), Collocation(Decay(), stages, 0)
    one.enter_stage(stages["a"])
    other.enter_stage(stages["b"])
    with pytest.raises(ConfigurationError, match=r"sampler Uniform, but the configuration has RAD"):
        other.load_state_dict(one.state_dict())


def test_every_learned_condition_has_its_points(stage):
    collocation = Collocation(Decay(), {"a": stage(condition_points=9)}, 0)
    collocation.enter_stage(collocation.stages["a"])
    counts = {name: len(points) for name, points in collocation.conditions.items()}
    # nine pairs, nine points, and as many as were measured
    assert counts == {"periodic:x": 18, "initial": 9, "data": 12}


class TestJudge:
    def test_its_numbers_do_not_depend_on_the_batches(self, bump):
        system, trial = bump
        results = []
        for chunk in (10_000, 17):
            judge = Judge(system, 100, chunk)
            sums: dict[str, list[float]] = {}
            for rows in judge:
                for name, (total, count) in judge.sums(trial, rows).items():
                    entry = sums.setdefault(name, [0.0, 0.0])
                    entry[0] += float(total)
                    entry[1] += float(count)
            results.append(judge.metrics({name: total / count for name, (total, count) in sums.items()}))
            assert set(results[-1]) == {*judge.names}
        assert results[0] == pytest.approx(results[1], rel=1e-12)
        u, exact = judge.values(trial)["u"], judge.reference["u"]
        assert results[0]["relative_l2"] == pytest.approx(float((u - exact).norm() / exact.norm()), rel=1e-12)

    def test_without_a_reference_there_is_the_residual(self):
        problem = Bump()
        problem.reference = None
        judge = Judge(System(problem), 20, 100)
        assert {rows.kind for rows in judge} == {"residual"} and judge.names == ("residual_rms",)
        assert describe_errors(judge.metrics({"residual/bump": 4.0})) == "residual 2"
