"""The losses of distillation: units, accumulation, precision."""

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from mlff.data.dataset import InMemoryStructures
from mlff.data.records import Labels, Record
from mlff.data.sampler import MicroBatch
from mlff.distill.module import Distillation
from mlff.distill.stage import DistillStage
from mlff.graph import AtomGraph
from mlff.student import PaiNN

OPTIMIZER = {"_target_": "torch.optim.AdamW", "lr": 1e-3}
SQUARED = {"_target_": "mlff.distill.losses.Squared"}
WEIGHTS = {"energy": 2.0, "forces": 5.0, "energies": 0.3, "stress": 7.0}


def labelled(count: int) -> list[Record]:
    records = []
    for seed in range(count):
        atoms = bulk("Cu", cubic=True) if seed % 2 else bulk("Cu") * (1, 1, 2)
        atoms.rattle(0.05, seed=seed)
        atoms.calc = EMT()
        labels = Labels(
            atoms.get_potential_energy(),
            atoms.get_forces(),
            atoms.get_potential_energies(),
            atoms.get_stress(voigt=False),
        )
        atoms.calc = None
        records.append(Record(atoms, "t", "s", labels))
    return records


@pytest.fixture(scope="module")
def structures() -> InMemoryStructures:
    return InMemoryStructures(labelled(8), 4.0)


def module(error: dict = SQUARED, dtype: torch.dtype = torch.float64, weights: dict = WEIGHTS) -> Distillation:
    torch.manual_seed(0)
    model = PaiNN([29], channels=8, layers=2, radial=6, cutoff=4.0).to(dtype)
    distillation = Distillation(model, has_energies=True, has_stress=True)
    precision = "64-true" if dtype == torch.float64 else "32-true"
    distillation.enter_stage(
        "only", DistillStage(steps=1, optimizer=OPTIMIZER, loss_weights=weights, error=error, precision=precision)
    )
    return distillation


def gradient(distillation: Distillation, batches: list) -> torch.Tensor:
    distillation.zero_grad()
    for batch in batches:
        terms = distillation.loss(batch)
        sum(WEIGHTS[name] * value for name, value in terms.items()).backward()
    return torch.cat([p.grad.flatten() for p in distillation.model.parameters() if p.grad is not None])


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_micro_batches_give_the_gradient_of_the_large_batch(structures, parts):
    distillation = module()
    everything = tuple(range(8))
    whole = gradient(distillation, [structures.__getitems__(MicroBatch(everything, group=everything))])
    pieces = [tuple(piece.tolist()) for piece in np.array_split(np.arange(8), parts)]
    accumulated = gradient(
        distillation, [structures.__getitems__(MicroBatch(piece, group=everything)) for piece in pieces]
    )
    assert (accumulated - whole).norm() / whole.norm() < 1e-12


def test_terms_are_mean_errors_in_physical_units(structures):
    distillation = module({"_target_": "mlff.distill.losses.Absolute"})
    indices = tuple(range(8))
    batch = structures.__getitems__(MicroBatch(indices, group=indices))
    terms = distillation.loss(batch)
    prediction = distillation.model(AtomGraph.from_batch(batch), stress=True)
    sizes = torch.bincount(batch.batch)
    expected = {
        "energy": ((prediction.energy - batch.energy) / sizes).abs().mean(),
        "forces": (prediction.forces - batch.forces).abs().mean(),
        "energies": (prediction.energies - batch.energies).abs().mean(),
        "stress": (prediction.stress - batch.stress).abs().mean(),
    }
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-12), name


def test_validation_errors_are_those_of_the_terms_in_milli_units(structures):
    distillation = module({"_target_": "mlff.distill.losses.Absolute"})
    indices = tuple(range(8))
    terms = distillation.loss(structures.__getitems__(MicroBatch(indices, group=indices)))
    sums: dict[str, list[float]] = {}
    for piece in ([0, 1, 2], [3, 4, 5, 6, 7]):
        for name, (total, count) in distillation.validation_sums(
            distillation.model, structures.__getitems__(piece)
        ).items():
            entry = sums.setdefault(name, [0.0, 0.0])
            entry[0] += float(total)
            entry[1] += float(count)
    metrics = distillation.validation_metrics({name: total / count for name, (total, count) in sums.items()})
    assert metrics["force_mae_meV_per_A"] == pytest.approx(1000 * terms["forces"].item(), rel=1e-10)
    assert metrics["energy_mae_meV_per_atom"] == pytest.approx(1000 * terms["energy"].item(), rel=1e-10)
    assert metrics["stress_mae_meV_per_A3"] == pytest.approx(1000 * terms["stress"].item(), rel=1e-10)


def test_a_weight_of_zero_costs_nothing(structures, monkeypatch):
    distillation = module(weights={"forces": 1.0, "energy": 0.0, "stress": 0.0})
    asked = []
    forward = distillation.model.forward
    monkeypatch.setattr(distillation.model, "forward", lambda g, stress: asked.append(stress) or forward(g, stress))
    indices = tuple(range(8))
    assert set(distillation.loss(structures.__getitems__(MicroBatch(indices, group=indices)))) == {"forces"}
    assert asked == [False]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_keeps_the_geometry_of_forces(graph_of, dtype):
    torch.manual_seed(0)
    model = PaiNN([1, 6, 8], channels=32, layers=3)
    graph = graph_of([molecule("CH3CH2OH")], 5.0)
    exact = model(graph)
    with torch.autocast("cpu", dtype=dtype):
        mixed = model(graph)
    # the network's products carry 8 (bfloat16) or 11 bits; what is made of distances keeps 24, so forces stay a sum of
    # central pair forces to that precision
    assert mixed.forces.sum(dim=0).abs().max() < 1e-5 * exact.forces.abs().max()
    size = exact.forces.abs().mean()
    assert (mixed.forces - exact.forces).abs().mean() / size < (0.03 if dtype == torch.bfloat16 else 0.004)
    # and it is really in use
    assert (mixed.forces - exact.forces).abs().max() / size > 1e-5


class TestSettings:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"loss_weights": {"force": 1.0}}, "no loss term force"),
            ({"loss_weights": {"forces": 0.0}}, "nothing to learn"),
            ({"error": {"_target_": "os.system"}}, "mlff.distill.losses"),
        ],
    )
    def test_a_wrong_value_is_named(self, change, message):
        values = {"steps": 1, "optimizer": OPTIMIZER, "loss_weights": {"forces": 1.0}}
        with pytest.raises(ValueError, match=message):
            DistillStage(**(values | change))


def test_the_untrained_student_has_the_zero_and_scale_of_the_data():
    from mlff.data.material import prepare
    from mlff.data.settings import DataSettings
    from mlff.distill.training import untrained_student
    from mlff.student.settings import StudentSettings

    material = prepare(labelled(8), DataSettings(validation=2, split="frames"), seed=0)
    model = untrained_student(material, StudentSettings(channels=4, output_scale=0.05))
    energies = np.concatenate([r.labels.energies for r in material.train])
    assert model.reference_energies.tolist() == pytest.approx([energies.mean()], rel=1e-12)
    assert model.energy_scale.item() == pytest.approx(0.05 * material.statistics.forces.rms)
