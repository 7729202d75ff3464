import io
import time

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes

from mlff.validate.settings import TimingSettings
from mlff.validate.timing import Contender, time_side_by_side
from training.errors import InputError
from training.progress import Progress


class Sleeper(Calculator):
    """Takes a known time and remembers what it was asked."""

    implemented_properties = ("energy", "forces")

    def __init__(self, seconds, journal=None):
        super().__init__()
        self.pause, self.journal, self.seen = seconds, journal if journal is not None else [], []

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.journal.append(self)
        self.seen.append(atoms.positions.copy())
        time.sleep(self.pause)
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}


@pytest.fixture
def progress():
    return Progress(io.StringIO())


def test_the_ratio_of_known_times_is_found(progress):
    contenders = [Contender("student", Sleeper(0.01), 1), Contender("teacher", Sleeper(0.1), 1)]
    timing = time_side_by_side(contenders, [molecule("H2O")], TimingSettings(calls=9, warm_up=1), progress)
    student, teacher = timing.contenders
    assert min(student.seconds) >= 0.01 and min(teacher.seconds) >= 0.1
    # what ASE and a busy machine add counts more on the shorter time: the ratio is at most the true one
    assert 2 < timing.speed_up < 10.5
    assert len(timing.contenders[0].seconds) == 9 and timing.atoms == 3


def test_contenders_take_turns_on_the_same_structures_which_move_before_every_call(progress):
    journal = []
    one, other = Sleeper(0.0, journal), Sleeper(0.0, journal)
    settings = TimingSettings(calls=8, warm_up=2, calls_per_frame=4)
    near, far = molecule("H2O"), molecule("H2O")
    far.positions += 5.0
    time_side_by_side([Contender("a", one, 1), Contender("b", other, 1)], [near, far], settings, progress)
    assert journal == [one, other] * 10  # one calculation per call: energy and forces in one go, none from memory
    np.testing.assert_array_equal(one.seen, other.seen)
    assert all(np.abs(b - a).max() > 0 for a, b in zip(one.seen, one.seen[1:], strict=False))
    assert [bool(seen.mean() > 2) for seen in one.seen] == [False] * 4 + [True] * 4 + [False] * 2


def test_threads_are_set_before_every_call_and_stated(progress):
    calls = []
    contenders = [
        Contender("student", Sleeper(0.0), 2, use_threads=calls.append),
        Contender("student alone", Sleeper(0.0), 1, use_threads=calls.append),
        Contender("teacher", Sleeper(0.0), 1),
    ]
    timing = time_side_by_side(contenders, [molecule("H2O")], TimingSettings(calls=3, warm_up=0), progress)
    assert calls == [2, 1] * 3
    assert [(times.name, times.threads) for times in timing.contenders] == [
        ("student", 2), ("student alone", 1), ("teacher", 1),
    ]  # fmt: skip


def test_a_slow_teacher_ends_the_comparison_early(progress):
    contenders = [Contender("student", Sleeper(0.0), 1), Contender("teacher", Sleeper(0.02), 1)]
    settings = TimingSettings(calls=1000, warm_up=1, max_seconds=0.01)
    assert len(time_side_by_side(contenders, [molecule("H2O")], settings, progress).contenders[1].seconds) == 3


def test_throughput_is_that_of_one_batched_call(progress):
    class Batching(Sleeper):
        def calculate_many(self, structures):
            time.sleep(0.001 * len(structures))
            return [{}] * len(structures)

    contenders = [Contender("student", Batching(0.0), 1), Contender("teacher", Sleeper(0.0), 1)]
    timing = time_side_by_side(contenders, [molecule("H2O")], TimingSettings(calls=3, batch=20), progress)
    assert timing.batch == 20 and 1.0 <= timing.batched_ms_per_structure < 5.0
    assert timing.to_dict()["contenders"][1]["threads"] == 1


def test_structures_of_several_sizes_are_refused(progress):
    contenders = [Contender("a", Sleeper(0.0), 1), Contender("b", Sleeper(0.0), 1)]
    for structures in ([], [molecule("H2O"), Atoms("H")]):
        with pytest.raises(InputError, match="structures of one size"):
            time_side_by_side(contenders, structures, TimingSettings(), progress)
