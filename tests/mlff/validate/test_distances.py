import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from mlff.validate.distances import compare_distances
from training.errors import InputError


def ensemble(atoms, count, spread, seed):
    random = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        frame = atoms.copy()
        frame.positions += spread * random.standard_normal((len(atoms), 3))
        frames.append(frame)
    return frames


ETHANOL = molecule("CH3CH2OH")


@pytest.mark.parametrize(("student_frames", "teacher_frames"), [(100, 100), (50, 150), (150, 50)])
def test_samples_of_one_ensemble_differ_by_the_sampling_noise_whatever_their_sizes(student_frames, teacher_frames):
    comparisons = [
        compare_distances(
            ensemble(ETHANOL, student_frames, 0.05, 2 * seed), ensemble(ETHANOL, teacher_frames, 0.05, 2 * seed + 1)
        )
        for seed in range(20)
    ]
    ratio = np.mean([c.difference for c in comparisons]) / np.mean([c.noise for c in comparisons])
    # one comparison scatters by about a fifth, twenty by a twentieth in each of the two means
    assert 0.85 < ratio < 1.15


def test_another_ensemble_stands_out_of_the_noise():
    comparison = compare_distances(ensemble(ETHANOL, 200, 0.1, 0), ensemble(ETHANOL, 200, 0.05, 1))
    assert comparison.difference_over_noise > 3


def test_h_has_unit_area_and_equal_frames_do_not_differ():
    frames = ensemble(ETHANOL, 20, 0.05, 0)
    comparison = compare_distances(frames, frames)
    width = comparison.radius_A[1] - comparison.radius_A[0]
    assert comparison.student.sum() * width == pytest.approx(1.0)
    assert comparison.difference == 0.0 and comparison.noise > 0 and not comparison.periodic


def test_structures_without_a_common_distance_differ_by_two():
    short, long = Atoms("H2", [(0, 0, 0), (0, 0, 0.7)]), Atoms("H2", [(0, 0, 0), (0, 0, 1.7)])
    assert compare_distances([short] * 4, [long] * 4).difference == pytest.approx(2.0)


def test_g_of_an_ideal_gas_is_one():
    random = np.random.default_rng(0)
    gas = [Atoms("Ar100", random.uniform(0, 13, (100, 3)), cell=[13, 13, 13], pbc=True) for _ in range(6)]
    comparison = compare_distances(gas, gas)
    far = comparison.radius_A > 2.0
    assert comparison.periodic
    # 12,000 distinct pairs: 1 % of noise, and N − 1 instead of N neighbours
    assert np.mean(comparison.student[far]) == pytest.approx(0.99, abs=0.03)


def test_g_counts_twelve_neighbours_in_copper():
    copper = ensemble(bulk("Cu", cubic=True), 4, 0.02, 0)
    comparison = compare_distances(copper, copper)
    width = comparison.radius_A[1] - comparison.radius_A[0]
    first_shell = (comparison.radius_A > 2.2) & (comparison.radius_A < 3.0)
    shells = 4 * np.pi * comparison.radius_A**2 * width * 4 / 3.61**3
    assert (comparison.student * shells)[first_shell].sum() == pytest.approx(12.0, rel=1e-3)


def test_unlike_systems_and_too_few_frames_are_refused():
    frames = ensemble(ETHANOL, 4, 0.05, 0)
    with pytest.raises(InputError, match="different systems cannot be compared: C2H6O, CH4"):
        compare_distances(frames, [molecule("CH4")] * 4)
    with pytest.raises(InputError, match="at least four of the teacher; got 4 and 3"):
        compare_distances(frames, frames[:3])
    with pytest.raises(InputError, match="single atom"):
        compare_distances([Atoms("Ar")] * 4, [Atoms("Ar")] * 4)
