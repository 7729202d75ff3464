"""Which runs a method makes of the words of the command line."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.composition import configs_folder
from training.errors import ConfigurationError, InputError
from training.sweeps.combinations import combinations, corners
from training.sweeps.settings import SweepSettings
from training.sweeps.space import Choices, Interval
from training.sweeps.words import read_request, reading, sweep_settings

CONFIGS = configs_folder()


def made(*words: str) -> list[tuple[str, ...]]:
    request = read_request(words, CONFIGS)
    return combinations(request.settings, request.space)


def test_grid_makes_all_combinations_and_the_last_key_changes_fastest():
    assert made("seed=0,1", "student=painn_small,painn", "tracker=none") == [
        ("seed=0", "student=painn_small"),
        ("seed=0", "student=painn"),
        ("seed=1", "student=painn_small"),
        ("seed=1", "student=painn"),
    ]
    assert made("network.width=range(8,20,4)") == [("network.width=8",), ("network.width=12",), ("network.width=16",)]
    assert made("x=[1,2],[3]", "y='a,b'") == [("x=[1,2]",), ("x=[3]",)]
    assert made("tracker=none") == [()]
    # the last word about a key counts
    assert made("seed=0,1", "seed=5,6", "x=1,2", "x=3") == [("seed=5",), ("seed=6",)]


def test_a_star_takes_every_file_of_a_group():
    assert set(made("hardware=glob(*)")) == {("hardware=auto",), ("hardware=cpu",), ("hardware=gpu",)}


def test_list_takes_values_together_and_refuses_unequal_numbers(tmp_path):
    assert made("sweep=list", "seed=0,1", "a=x,y") == [("seed=0", "a=x"), ("seed=1", "a=y")]
    with pytest.raises(ConfigurationError, match="seed has 3, a has 2"):
        made("sweep=list", "seed=0,1,2", "a=x,y")
    (tmp_path / "runs.txt").write_text("seed=0 a=x  # the first\n\nseed=1 'b=[1, 2]'\n")
    assert made("sweep=list", f"sweep.file={tmp_path}/runs.txt") == [("seed=0", "a=x"), ("seed=1", "b=[1, 2]")]
    (tmp_path / "runs.csv").write_text("seed, a\n0, x\n1, y\n")
    assert made("sweep=list", f"sweep.file={tmp_path}/runs.csv") == [("seed=0", "a=x"), ("seed=1", "a=y")]
    with pytest.raises(InputError, match=r"nowhere\.txt cannot be read"):
        made("sweep=list", "sweep.file=nowhere.txt")


def test_space_of_a_file_and_the_command_line_wins(tmp_path):
    shutil.copytree(CONFIGS / "sweep", tmp_path / "sweep")
    study = "defaults: [grid, _self_]\nspace: {seed: [0, 1], network.width: 'range(8, 17, 8)'}\n"
    (tmp_path / "sweep" / "study.yaml").write_text(study)
    request = read_request(["sweep=study", "seed=5"], tmp_path)
    assert request.fixed == ("seed=5",)
    assert combinations(request.settings, request.space) == [("network.width=8",), ("network.width=16",)]


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_draws_fill_the_space_and_are_the_same_for_the_same_seed(method):
    words = [f"sweep={method}", "sweep.runs=64", "lr=tag(log, interval(1e-4, 1e-2))", "n=int(interval(1, 4))", "a=x,y"]
    drawn = made(*words)
    assert len(drawn) == 64 and drawn == made(*words) and drawn != made(*words, "sweep.seed=1")
    values = [dict(word.split("=") for word in row) for row in drawn]
    logs = np.log10([float(row["lr"]) for row in values])
    assert logs.min() >= -4 and logs.max() <= -2
    # halves of a logarithmic interval: 64 coin tosses leave 16 to 48 heads with a probability above 0.9999
    assert 16 <= (logs < -3).sum() <= 48
    assert {row["n"] for row in values} == {"1", "2", "3", "4"} and {row["a"] for row in values} == {"x", "y"}
    if method == "sobol":
        # a scrambled net of 64 points has exactly one in each 64th of every axis
        assert sorted(np.floor((logs + 4) * 32).astype(int)) == list(range(64))
        assert sum(row["a"] == "x" for row in values) == 32


@given(st.floats(0, 1, exclude_max=True), st.floats(1e-6, 1e6), st.floats(1.001, 1e3), st.booleans())
def test_a_drawn_number_lies_in_its_interval(share, low, factor, logarithmic):
    high = low * factor
    value = float(Interval.checked("x", low, high, logarithmic).at(share))
    assert low <= value <= high


def test_ends_of_whole_numbers_are_as_likely_as_the_rest():
    interval = Interval.checked("n", 1, 4, logarithmic=False)
    drawn = [interval.at(share) for share in np.linspace(0, 1, 4000, endpoint=False)]
    assert [drawn.count(word) for word in "1234"] == [1000] * 4


def test_corners_try_every_value_once_beside_the_first_of_the_others():
    space = {"a": Choices("a", ("x", "y", "z")), "n": Interval.checked("n", 1, 4, logarithmic=False)}
    assert corners(space) == [("a=x", "n=1"), ("a=y", "n=1"), ("a=z", "n=1"), ("a=x", "n=4")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lr=interval(0,1)"], "lr: an interval has no list of values"),
        (["sweep=random"], "needs values to choose from"),
        (["sweep=random", "sweep.runs=null", "a=1,2"], "sweep.runs=20"),
        (["sweep=sobol", "lr=interval(2,1)"], "from a smaller to a larger"),
        (["sweep=sobol", "lr=tag(log, interval(0,1))"], "begins above zero"),
        (["sweep=optuna", "a=1,2"], "sweep.metric=NAME"),
        (["sweep=gird"], "Known: grid, list, optuna, random, sobol"),
        (["sweep.worker=2"], "did you mean sweep.workers"),
        (["sweep.workers=2,4"], "have one value each"),
        (["sweep.runs=3"], "no meaning for sweep=grid"),
        (["sweep.file=x.txt"], "belongs to sweep=list"),
        (["seed=choice("], "seed=choice( cannot be read"),
    ],
)
def test_words_that_cannot_be_a_sweep_are_named(words, message):
    with pytest.raises(ConfigurationError) as caught:
        made(*words)
    assert message in str(caught.value)


def test_more_workers_than_cores_are_refused():
    with pytest.raises(ConfigurationError, match="Choose fewer"):
        SweepSettings(workers=3000).threads()


def test_the_file_of_the_grid_says_what_the_settings_class_says():
    with reading(CONFIGS) as loader:
        assert sweep_settings([], loader) == SweepSettings()
