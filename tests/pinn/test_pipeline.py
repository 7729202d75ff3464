"""A run from configuration to verdict: what it leaves, what it refuses, and the same from a notebook."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "solve"))

from small_problems import Bump, Decay
from small_runs import GAUSS_NEWTON, HALVES, small_config

import pinn
from pinn.conditions import Dirichlet
from pinn.geometry import Interval
from pinn.problem import Problem
from training.errors import ConfigurationError, GateFailed, InputError
from training.run import execute, main

WHOLE = {"half__pipeline": "pinn.pipeline.run"}
STAGES = {"only": GAUSS_NEWTON | {"steps": 12, "validate_every": 6}}


@pytest.fixture(scope="module")
def solved(tmp_path_factory) -> tuple[Path, dict]:
    """A whole run of the inverse problem: its folder and its summary."""
    root = tmp_path_factory.mktemp("solved")
    summary = execute(small_config(root, "Decay", STAGES, **WHOLE), HALVES)
    return root, summary


def test_a_run_leaves_what_it_promises(solved):
    root, summary = solved
    folder = root / "small" / "run"
    for name in ("network.safetensors", "summary.json", "report.html", "metrics.jsonl", "config.yaml", "last.ckpt"):
        assert (folder / name).stat().st_size > 100, name
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert summary["passed"] and summary["gates"][0]["bar"] == 100.0
    assert summary["reference_floor"] == 1e-15 and summary["steps"] == 12
    assert summary["residual_rms"] > 0 and summary["residual_rms_before"] > 0 and summary["condition_rms"] > 0
    assert summary["seconds"] > 0 and summary["peak_memory_MB"] > 50
    error = abs(summary["parameter_kappa"] - 0.05) / 0.05 * 100
    assert summary["parameter_error_percent"] == pytest.approx(error, rel=1e-12)
    assert summary["facts"]["stages"]["only"].startswith("GaussNewton")


def test_the_error_it_states_is_that_of_the_network_it_leaves(solved):
    root, summary = solved
    solution = pinn.load(root / "small" / "run", Decay())
    points = solution.problem.evaluation_points()
    u = solution(x=points[:, 0], t=points[:, 1]).u
    exact = solution.problem.reference.values(points)["u"]
    error = float((u - exact).norm() / exact.norm())
    assert summary["relative_l2"] == pytest.approx(error, rel=1e-10)
    assert solution.metadata["accuracy"]["relative_l2"] == summary["relative_l2"]
    at = solution(x=points[:, 0], t=points[:, 1])
    residual = at.u_t - solution.parameters["kappa"] * at.u_xx
    assert summary["residual_rms"] == pytest.approx(float(residual.square().mean().sqrt()), rel=1e-9)


def test_a_finished_run_is_not_run_again_but_says_its_verdict(solved, capsys):
    root, summary = solved
    before = (root / "small" / "run" / "last.ckpt").stat().st_mtime_ns
    assert execute(small_config(root, "Decay", STAGES, **WHOLE), HALVES) == summary
    assert "This run is finished" in capsys.readouterr().out
    assert (root / "small" / "run" / "last.ckpt").stat().st_mtime_ns == before


def test_a_bar_that_is_not_met_is_exit_code_3_and_everything_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    config = small_config(tmp_path, "Pair", STAGES, **WHOLE, validation__gates__relative_l2=1e-30)
    assert main(config, HALVES) == GateFailed.exit_code == 3
    said = capsys.readouterr()
    assert "FAILED 1 of 1 gates: relative L2 error" in said.err
    # a reference that is computed first is announced
    assert 0 < said.out.index("Computing the reference Kept; it is kept in") < said.out.index("Training, stage only")
    summary = json.loads((tmp_path / "small" / "run" / "summary.json").read_text())
    assert not summary["passed"] and summary["relative_l2"] < 1e-2
    assert {name: error["floor"] for name, error in summary["details"]["errors"].items()} == {"u": 1e-3, "v": 1e-6}
    assert summary["reference_floor"] == 1e-3


def test_the_report_speaks_of_the_problem_as_a_reader_does(solved):
    facts = solved[1]["facts"]
    assert facts["domain"] == "x from 0 to 1; t from 0 to 1"
    assert facts["conditions"]["data"] == "12 given values of u, learned"
    assert facts["network"]["network"] == "MLP" and facts["reference"].startswith("Exact: A solution in closed form")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"problem": {"_target_": "small_problems.Bumb"}}, "small_problems.Bumb could not be built"),
        ({"problem": {"_target_": "small_problems.Bump", "hight": 2.0}}, "hight"),
        ({"problem": {"_target_": "collections.OrderedDict"}}, "no subclass of pinn.Problem"),
        ({"network": {"_target_": "pinn.networks.MLP", "witdh": 3}}, "witdh"),
        ({"stages__only__loss_weights": {"bmp": 1.0}}, r"there is no term bmp; did you mean bump\?"),
        ({"stages__only__loss_weights": {"bump": 0.0}}, "every term weighs 0"),
        ({"validation__gates__parameter_error_percent": 1.0}, "the problem has no unknown parameters"),
    ],
)
def test_what_cannot_be_solved_is_refused_before_training(tmp_path, capsys, changes, words):
    with pytest.raises(ConfigurationError, match=words):
        execute(small_config(tmp_path, "Bump", STAGES, **WHOLE, **changes), HALVES)
    assert not (tmp_path / "small" / "run" / "last.ckpt").exists()
    assert "Training" not in capsys.readouterr().out


class Oscillation(Problem):
    """``u'' = −k² u`` between ``u(0) = 0`` and ``u(1) = sin k``: a problem defined where it is used."""

    title = "An oscillation"
    formula = r"u_{xx} = -k^2 u"

    def __init__(self, k: float = 2.0) -> None:
        self.k = k
        self.domain = Interval(x=(0, 1))
        self.conditions = [Dirichlet("x=0", u=0.0, hard=True), Dirichlet("x=1", u=float(np.sin(k)))]

    def equations(self, u):
        return {"oscillation": u.xx + self.k**2 * u}


def notebook(root: Path, problem, **more):
    stages = {"only": GAUSS_NEWTON | {"steps": 30, "validate_every": 30}}
    words = {"tracker": "none", "run__root": str(root), "hardware__device": "cpu", "hardware__threads": 1}
    return pinn.solve(problem, stages=stages, network__width=10, network__depth=2, **words, **more)


def test_a_problem_of_ones_own_is_solved_from_a_notebook(tmp_path):
    solved = notebook(tmp_path, Oscillation())
    x = np.linspace(0, 1, 101)
    # there is no reference, but the solution is sin 2x
    assert np.abs(solved.solution(x=x).u - np.sin(2 * x)).max() < 1e-5
    assert "relative_l2" in solved.summary and solved.summary["relative_l2"] is None
    assert solved.folder.parent == tmp_path / "Oscillation"
    again = notebook(tmp_path, Oscillation())
    assert again.folder == solved.folder
    other = notebook(tmp_path, Oscillation(1.0), stages__only__steps=1)
    assert other.folder != solved.folder


def test_wrong_words_in_a_notebook_are_named():
    with pytest.raises(ConfigurationError, match=r"no problem 'burger'; did you mean burgers\?"):
        pinn.solve("burger")
    with pytest.raises(ConfigurationError, match=r"no configuration key stages\.adam\.stps; did you mean"):
        pinn.solve(Bump(), stages__adam__stps=3)
    with pytest.raises(InputError, match="takes a problem or the name of one; got int"):
        pinn.solve(3)
