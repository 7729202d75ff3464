"""A run killed in any stage, by any optimizer, and started again equals the run nobody touched, bit for bit."""

import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file
from small_runs import ADAM, assert_same, folder, metrics, rows, start, state, train, wait

from pinn.solve.snapshots import PointDiary


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """An uninterrupted run of Adam, SSBroyden, Gauss-Newton and L-BFGS."""
    root = tmp_path_factory.mktemp("whole")
    train(root)
    return root


def test_every_step_is_counted_logged_and_validated_where_it_is_due(whole):
    assert list(rows(whole, "validation/relative_l2")) == [5, 10, 12, 17, 21, 26, 30]
    assert list(rows(whole, "train/loss")) == [3, 6, 9, 12, 15, 18, 21, 24, 26, 29, 30]
    assert rows(whole, "parameter/kappa")[30] != rows(whole, "parameter/kappa")[3]
    # grad-norm moved the weights in the first stage; in the others they are all one and say nothing
    assert max(rows(whole, "weight/heat")) == 12
    assert all(value > 0 for value in rows(whole, "seconds").values())


def test_killed_in_every_stage_it_equals_the_uninterrupted_run(tmp_path, whole):
    # three renames for each save but the first, a save after every step
    for renames in (4, 17, 21, 19, 12, 9):
        child = start(tmp_path, renames, checkpoint_seconds=0)
        assert wait(child) == -signal.SIGKILL, (tmp_path / "log.txt").read_text()
    assert wait(start(tmp_path, checkpoint_seconds=0)) == 0, (tmp_path / "log.txt").read_text()
    log = (tmp_path / "log.txt").read_text()
    assert {f"Continuing at stage {name}" in log for name in ("adam", "ssbroyden", "gauss_newton")} == {True}
    assert_same(state(tmp_path), state(whole))
    assert metrics(tmp_path) == metrics(whole)
    one, other = (load_file(folder(root) / "network.safetensors") for root in (tmp_path, whole))
    assert_same(one, other)
    mine, its = (sorted(p.name for p in (folder(root) / "points").iterdir()) for root in (tmp_path, whole))
    assert mine == its


@pytest.mark.parametrize("precision", ["32", "bf16", "16"])
def test_lower_precisions_continue_too(tmp_path, precision):
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    stages = {"adam": ADAM | {"precision": precision, "balance": {"_target_": "pinn.weighting.RBA"}}}
    train(tmp_path / "whole", stages=stages)
    assert wait(start(tmp_path / "killed", 20, stages=stages, checkpoint_seconds=0)) == -signal.SIGKILL
    assert wait(start(tmp_path / "killed", stages=stages, checkpoint_seconds=0)) == 0
    assert_same(state(tmp_path / "killed"), state(tmp_path / "whole"))
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")


def test_pictures_of_the_points_are_kept_where_they_moved(whole):
    from small_runs import small_config

    from pinn.configuration import SolveSettings
    from training.configuration import validate

    stages = validate(small_config(whole), SolveSettings).stages
    found = PointDiary(folder(whole), stages, 4).read()
    # one moment for each of four stages, at its beginning
    assert [(s.stage, s.step) for s in found] == [("adam", 0), ("ssbroyden", 12), ("gauss_newton", 21), ("lbfgs", 26)]
    assert all(snapshot.points.shape[1] == 2 for snapshot in found)
