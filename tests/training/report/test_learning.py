import math

import numpy as np

from training.report.learning import TRAINING_SMOOTHING, Panel, curve, learning_curves, stage_starts, thinned

ROWS = [{"step": step, "seconds": 0.5 * step, "train/loss": 1 / (step + 1), "stage": step // 40} for step in range(100)]
ROWS += [{"step": 100, "validation/error": 0.25}, {"step": 100, "train/loss": math.nan}]


def test_a_stage_begins_at_its_first_logged_step_and_one_never_reached_has_none():
    assert stage_starts(ROWS, ["a", "b", "c", "d"]) == {"a": 0, "b": 40, "c": 80}


def test_a_curve_leaves_out_what_is_no_number_and_rows_without_its_axis():
    steps, values = curve(ROWS, "train/loss")
    assert list(steps) == list(range(100)) and values[3] == 0.25
    assert curve(ROWS, "train/loss", "seconds")[0][-1] == 49.5
    assert len(curve(ROWS, "validation/error", "seconds")[0]) == 0


def test_thinning_keeps_the_mean_and_short_curves():
    values = np.random.default_rng(0).standard_normal(40 * TRAINING_SMOOTHING)
    at, means = thinned(np.arange(len(values)), values)
    assert len(means) == TRAINING_SMOOTHING
    # equal groups: the mean of means is the mean, up to the rounding of the sums
    np.testing.assert_allclose([at.mean(), means.mean()], [(len(values) - 1) / 2, values.mean()], rtol=1e-10)
    assert thinned(at, means)[1] is means


def test_only_panels_with_values_are_drawn_and_none_is_no_figure(tmp_path):
    loss, error, other = (
        Panel("Loss", "1", "train/loss"),
        Panel("Error", "m", validation="validation/error"),
        Panel("X", ""),
    )
    saved = learning_curves(tmp_path, ROWS, {"a": 0, "b": 40}, [loss, error, other])
    assert saved.name == "learning_curves" and "Lines: a stage begins" in saved.caption and saved.svg.exists()
    assert learning_curves(tmp_path, ROWS, {}, [Panel("X", "", "train/x")]) is None
