"""Stacked networks are the networks: the same numbers, the same training, and no member touches another."""

import csv
import json

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from pinn.conditions import Dirichlet, Initial
from pinn.ensembles.chain import plain_chain, stacked_chain
from pinn.ensembles.configuration import PROCESSES
from pinn.ensembles.driven import Decay
from pinn.ensembles.paths import Paths
from pinn.ensembles.processes import CoxIngersollRoss
from pinn.ensembles.stacked import StackedMLP
from pinn.ensembles.statistics import summarise
from pinn.ensembles.training import Ensemble, EnsembleTraining
from pinn.jets.activations import ACTIVATIONS, activation
from pinn.jets.jet import Jet
from pinn.jets.layout import JetLayout
from pinn.networks import MLP
from pinn.residuals import fields_at, prepare
from training.composition import compose, configs_folder
from training.configuration import instantiate
from training.errors import ConfigurationError
from training.run import main
from training.schedules import Cosine

MEMBERS = 5
SPEC = {"_target_": "pinn.networks.MLP", "width": 7, "depth": 2}
FOLLOWS = {"inputs": 2, "outputs": 1, "bounds": [[0.0, 1.0], [0.0, 1.0]]}
STEPS = EnsembleTraining(steps=50, points=32, every=20, warmup_steps=5)


def ensemble(members: int = MEMBERS, settings: EnsembleTraining = STEPS) -> Ensemble:
    paths = Paths.drawn(CoxIngersollRoss(), 1.0, 8, members, "sobol", seed=1)
    return Ensemble(Decay(), paths, StackedMLP.build(SPEC, members, 3, **FOLLOWS), settings, seed=2)


def weights_of(network: MLP) -> torch.Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in network.parameters()])


class TestStackedJets:
    layout = JetLayout(("x", "t"), [("x", "x"), ("t",), ("x", "t")])

    @pytest.mark.parametrize("name", dict.fromkeys(ACTIVATIONS))
    def test_each_member_s_jet_is_that_of_its_network(self, name):
        stacked = StackedMLP.build({**SPEC, "activation": name}, 3, 0, **FOLLOWS)
        points = torch.rand(3 * 11, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        features = stacked.features.jet(Jet.of_points(self.layout, points))
        jet = stacked.body(features)
        for member, rows in enumerate(points.split(11)):
            alone = stacked.member(member)
            expected = alone.jet(Jet.of_points(self.layout, rows)).parts
            found = jet.parts[:, 11 * member : 11 * (member + 1)]
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)
            torch.testing.assert_close(stacked(points)[11 * member : 11 * (member + 1)], alone(rows))

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
    def test_the_fast_chain_equals_plain_torch_in_value_and_gradient(self, dtype):
        generator = torch.Generator().manual_seed(1)
        sizes = [2, 6, 5, 1]
        pairs = list(zip(sizes[1:], sizes[:-1], strict=True))
        weights = [torch.randn(4, m, n, generator=generator, dtype=dtype, requires_grad=True) for m, n in pairs]
        biases = [torch.randn(4, 1, m, generator=generator, dtype=dtype, requires_grad=True) for m, _ in pairs]
        parts = torch.randn(self.layout.n_parts, 4 * 9, 2, generator=generator, dtype=dtype, requires_grad=True)
        cotangent = torch.randn(self.layout.n_parts, 4 * 9, 1, generator=generator, dtype=dtype)
        # rounding of sums of a few hundred products
        bounds = {"rtol": 1e-10, "atol": 1e-11} if dtype == torch.float64 else {"rtol": 2e-4, "atol": 2e-4}
        found = []
        for chain in (stacked_chain, plain_chain):
            out = chain(Jet(self.layout, parts), weights, biases, activation("silu")).parts
            found.append([out, *torch.autograd.grad((out * cotangent).sum(), [parts, *weights, *biases])])
        for fast, plain in zip(*found, strict=True):
            torch.testing.assert_close(fast, plain, **bounds)


def test_each_member_is_what_the_same_network_becomes_alone():
    together = ensemble()
    alone = [together.network.member(member) for member in range(MEMBERS)]
    together.train(lambda step, losses: None)
    for member, network in enumerate(alone):
        problem = Decay()
        problem.paths = together.paths.member(member)
        optimizer = torch.optim.Adam(network.parameters(), lr=STEPS.lr)
        shape = Cosine(STEPS.warmup_steps, STEPS.final)
        for step in range(STEPS.steps):
            generator = torch.Generator().manual_seed(2 + 1_000_003 * (step // STEPS.every))
            if step % STEPS.every == 0:
                points = problem.domain.sample(STEPS.points, generator, "sobol")
                prepared = prepare(problem, network, points, together.system.layout)
            optimizer.param_groups[0]["lr"] = STEPS.lr * shape.factor(step, STEPS.steps)
            optimizer.zero_grad()
            residuals = problem.residuals(fields_at(network, prepared), prepared.columns)
            residuals["decay"].square().mean().backward()
            optimizer.step()
        torch.testing.assert_close(weights_of(together.network.member(member)), weights_of(network), rtol=0, atol=1e-10)
    assert together.failures.in_words() == {}


def test_a_member_that_fails_is_named_left_out_and_touches_no_other():
    sound, hurt = ensemble(), ensemble()
    with torch.no_grad():
        hurt.network.weights[0][3] = torch.nan
    for one in (sound, hurt):
        one.train(lambda step, losses: None)
    assert hurt.failures.in_words() == {3: "loss not finite at step 0"}
    for member in (0, 1, 2, 4):
        assert torch.equal(weights_of(sound.network.member(member)), weights_of(hurt.network.member(member)))
    summary = summarise(hurt, 0.8, n=11)
    assert summary.members.tolist() == [0, 1, 2, 4] and summary.failed == {3: "loss not finite at step 0"}
    # rows stay with their paths
    full = summarise(sound, 0.8, n=11)
    assert torch.equal(summary.u, full.u[[0, 1, 2, 4]]) and torch.equal(summary.errors, full.errors[[0, 1, 2, 4]])
    assert torch.equal(summary.mean, full.u[[0, 1, 2, 4]].mean(dim=0))
    assert bool((summary.low <= summary.mean).all() and (summary.mean <= summary.high).all())
    assert summary.figures()["failed_members"] == 1
    strict = summarise(sound, 0.8, n=11, limit=1e-12)
    assert len(strict.members) == 0 and "above 1e-12" in strict.failed[0] and strict.figures()["relative_l2"] is None


def test_going_on_from_a_saved_state_is_going_on(tmp_path):
    whole, part, rest = ensemble(), ensemble(), ensemble()
    whole.train(lambda step, losses: None)
    for _ in range(23):
        part.advance()
    part.save(tmp_path)
    assert rest.restore(tmp_path) and rest.step == 23
    rest.train(lambda step, losses: None)
    for first, second in zip(whole.network.parameters(), rest.network.parameters(), strict=True):
        assert torch.equal(first, second)
    assert not ensemble().restore(tmp_path / "elsewhere")


class Learned(Decay):
    """With a condition that is learned, which an ensemble does not do."""

    def __init__(self) -> None:
        super().__init__()
        self.conditions = [Initial(u=lambda x: torch.sin(torch.pi * x)), Dirichlet(u=0.0, hard=True)]


def test_what_an_ensemble_cannot_do_is_refused():
    paths = Paths.drawn(CoxIngersollRoss(), 1.0, 8, 2)
    network = StackedMLP.build(SPEC, 2, 0, **FOLLOWS)
    with pytest.raises(ConfigurationError, match="hard conditions only"):
        Ensemble(Learned(), paths, network, STEPS)
    with pytest.raises(ConfigurationError, match="2 paths for 3 networks"):
        Ensemble(Decay(), paths, StackedMLP.build(SPEC, 3, 0, **FOLLOWS), STEPS)
    with pytest.raises(ConfigurationError, match=r"pinn\.networks\.MLP"):
        StackedMLP.build({**SPEC, "_target_": "pinn.networks.ModifiedMLP"}, 2, 0, **FOLLOWS)
    with pytest.raises(ConfigurationError, match=r"network\.fourier"):
        StackedMLP.build({**SPEC, "fourier": 4}, 2, 0, **FOLLOWS)


WORDS = (
    "experiment=scenarios", "tracker=none", "hardware.threads=1", "draws.members=6", "training.steps=400",
    "network.width=8",
)  # fmt: skip


def test_the_command_leaves_report_table_and_paths(tmp_path, capsys):
    config = compose([*WORDS, f"run.root={tmp_path}", "band.gates.relative_l2=0.05"])
    assert main(config) == 0, capsys.readouterr().err
    (folder,) = (tmp_path / "scenarios").iterdir()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["passed"] and summary["relative_l2"] < 0.05 and summary["failed_members"] == 0
    assert summary["mean_relative_l2"] <= summary["relative_l2"]
    rows = list(csv.DictReader((folder / "members.csv").open()))
    kept = load_file(folder / "scenarios.safetensors")
    assert [row["member"] for row in rows] == [str(member) for member in range(6)]
    for row, path, u in zip(rows, kept["paths"], kept["u"], strict=True):
        assert float(row["path_end"]) == pytest.approx(float(path[-1]), rel=1e-5)
        # the higher its decay rate, the less is left: rows of both belong together
        assert float(u[-1, 20]) == pytest.approx(
            float(torch.exp(-0.05 * torch.pi**2 - torch.trapezoid(path, kept["times"]))), rel=0.05
        )
    page = (folder / "report.html").read_text()
    assert page.count("data:image/svg+xml;base64") == 3 and "frozen" in page and "the future included" in page
    printed = capsys.readouterr().out
    assert main(config) == 0 and "This run is finished" in capsys.readouterr().out
    assert "6 paths, as many networks" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["paths._target_=os.system", "draws.kind=halton"], ["pinn.ensembles.processes", "draws.kind"]),
        (["scenario._target_=pinn.problems.heat.Heat", "~scenario.end"], ["is no DrivenProblem"]),
    ],
)
def test_wrong_words_are_named(tmp_path, capsys, words, message):
    assert main(compose([*WORDS, f"run.root={tmp_path}", *words])) == 2
    printed = capsys.readouterr().err
    assert all(word in printed for word in message)


@pytest.mark.parametrize("file", sorted((configs_folder() / "paths").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_file_of_the_paths_says_what_its_class_says(file):
    process = instantiate(OmegaConf.to_container(OmegaConf.load(file)), PROCESSES)
    assert process == type(process)()
