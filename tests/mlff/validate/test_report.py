"""The report opens offline, says what it was given, and cannot be broken by what users call their molecules."""

import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from mlff.validate.accuracy import Accuracy, ElementAccuracy
from mlff.validate.distances import DistanceComparison
from mlff.validate.examination import PANELS
from mlff.validate.facts import RunFacts
from mlff.validate.figures import accuracy, data, dynamics
from mlff.validate.gates import judge, sentence
from mlff.validate.model_card import write_model_card
from mlff.validate.report import write_report
from mlff.validate.results import Results
from mlff.validate.settings import GateSettings
from mlff.validate.stability import Stability
from mlff.validate.summary import write_summary
from mlff.validate.timing import CallTimes, Timing
from training.errors import InputError
from training.report import learning
from training.report.summary import plain

ACCURACY = Accuracy(
    **{"structures": 200, "atoms": 4200, "energy_mae_meV_per_atom": 0.437, "energy_rmse_meV_per_atom": 0.55},
    **{"energy_bias_meV_per_atom": -0.021, "energy_mae_of_constant_meV_per_atom": 17.3, "force_mae_meV_per_A": 14.82},
    **{"force_rmse_meV_per_A": 21.7, "force_mae_of_zero_meV_per_A": 711.0, "force_rmse_of_zero_meV_per_A": 1010.0},
    per_element={"H": ElementAccuracy(1600, 9.13, 12.0, 520.0), "C": ElementAccuracy(1800, 18.6, 26.0, 930.0)},
    **{"largest_energy_error_meV_per_atom": 2.9, "largest_energy_error_structure": 17},
    **{"largest_force_error_meV_per_A": 243.0, "largest_force_error_structure": 31, "largest_force_error_atom": 5},
    **{"stress_mae_meV_per_A3": 0.61, "stress_rmse_meV_per_A3": 0.8, "stress_mae_GPa": 0.0977},
    **{"stress_mae_of_zero_meV_per_A3": 33.3, "atom_energy_mae_meV": 2.22},
)
STABILITY = Stability(
    **{"survived": True, "failure": "", "duration_ps": 5.0, "timestep_fs": 0.5, "temperature_mean_K": 301.2},
    **{"temperature_std_K": 38.9, "drift_meV_per_atom_per_ps": -0.00312, "fluctuation_meV_per_atom": 0.0512},
    **{"drift_standard_error_meV_per_atom_per_ps": 0.00105, "largest_excursion_meV_per_atom": 0.271},
    **{
        "drift_over_kinetic_spread": 0.0031,
        "bonds": 21,
        "largest_bond_deviation_A": 0.143,
        "seconds_per_step": 0.00213,
    },
    **{"relaxation_steps": 37, "relaxation_fmax_eV_per_A": 0.0093},
)
RADIUS = np.arange(0.025, 5, 0.05)
CURVE = np.exp(-((RADIUS - 2) ** 2))
RESULTS = Results(
    accuracy=ACCURACY,
    stability=STABILITY,
    along_trajectory=ACCURACY,
    distances=DistanceComparison(RADIUS, CURVE, CURVE, False, 0.0471, 0.0433, 250, 300),
    timing=Timing(
        21, (CallTimes("student", 2, (0.0011, 0.0012, 0.0013)), CallTimes("GFN2-xTB", 1, (0.0061,))), 0.19, 64
    ),
)
FACTS = RunFacts(
    title="Aspirin from GFN2-xTB",
    system="aspirin",
    formula="C9H8O4",
    elements=("H", "C", "O"),
    teacher="GFN2-xTB (tblite 0.8.0)",
    licence="LGPL-3.0-or-later",
    structures={"training": 1234, "held out": 200},
    rejected={"force above 30 eV/Å": 7},
    phases={"training": 185.0, "labels": 12.0},
    seeds={"run": 3},
    environment={"machine": "2 cores"},
    command="python train.py",
    files={"student.safetensors": "the student"},
    teacher_to_truth_force_mae_meV_per_A=60.0,
)


class Outline(HTMLParser):
    """Collects references and checks that tags nest."""

    VOID = ("meta", "img", "br", "hr", "link", "input")

    def __init__(self):
        super().__init__()
        self.open, self.references, self.tags, self.text = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.references += [value for name, value in attributes if name in ("src", "href", "srcset", "action", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.text.append(text)


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    random = np.random.default_rng(0)
    energy, forces = random.standard_normal(50), random.standard_normal((450, 3))
    time = np.linspace(0.0025, 5, 400)
    rows = [{"step": step, "validation/force_mae_meV_per_A": 300 / (step + 1)} for step in range(0, 100, 10)]
    rows += [{"step": step, "train/force_mae_meV_per_A": 330 / (step + 1)} for step in range(100)]
    return [
        accuracy.energy_parity(folder, energy, energy + 0.01, np.full(50, 9)),
        accuracy.force_parity(folder, forces, forces + 0.02),
        accuracy.error_per_element(folder, {"H": 9.1, "C": 18.6}, {"H": 520.0, "C": 930.0}, {"H": 1600, "C": 1800}),
        dynamics.energy_conservation(folder, time, random.standard_normal(400), -0.003, 0.001),
        dynamics.temperature(folder, time, 300 + random.standard_normal(400), 300.0),
        dynamics.distances(folder, RADIUS, CURVE, CURVE, False, 0.05, 0.04),
        dynamics.force_error_along(folder, time[:20], np.full(20, 15.0), 14.8),
        learning.learning_curves(folder, rows, {"forces": 0, "energies": 50}, PANELS),
        data.element_histogram(folder, {"MD at 300 K": {"H": 8, "C": 9, "O": 4}}),
        data.force_magnitudes(folder, {"training": np.abs(energy), "held out": np.abs(energy)}),
        data.rejections(folder, {"force above 30 eV/Å": 7}, 1434),
    ]


def outline(path):
    parser = Outline()
    parser.feed(path.read_text(encoding="utf-8"))
    assert parser.open == []
    return parser


def gates_of(results):
    return judge(results.figures(), GateSettings())


def test_the_report_is_whole_and_reaches_for_nothing_outside_itself(tmp_path, figures):
    path = write_report(tmp_path, RESULTS, gates_of(RESULTS), figures, FACTS)
    parser = outline(path)
    assert len(parser.references) == len(figures) == 11
    assert all(reference.startswith("data:image/svg+xml;base64,") for reference in parser.references)
    assert not {"script", "link", "iframe", "object"} & set(parser.tags)
    text = path.read_text(encoding="utf-8")
    assert "url(" not in text and "@import" not in text and "http" not in text
    assert path.stat().st_size < 3_000_000


def test_the_verdict_and_the_numbers_are_in_the_words_of_the_report(tmp_path, figures):
    text = " ".join(outline(write_report(tmp_path, RESULTS, gates_of(RESULTS), figures, FACTS)).text)
    assert sentence(gates_of(RESULTS)) in text
    for number in (
        *("14.8", "21.7", "711", "0.437", "17.3", "9.13", "−0.00312 ± 0.00105", "301 ± 39", "0.0512", "0.271", "0.143"),
        *("0.0471", "0.0433", "1.20", "6.10", "5.08", "1,234 training", "7: force above 30 eV/Å", "3 min 05 s", "61.8"),
        *("0.610", "0.0977", "LGPL-3.0-or-later", "C9H8O4", "python train.py", "StudentCalculator"),
    ):
        assert number in text, number


def test_a_report_of_failed_dynamics_without_figures_or_accuracy_says_so(tmp_path):
    fields = {name: None for name, value in STABILITY.to_dict().items() if isinstance(value, float)}
    failed = Stability(**{**STABILITY.to_dict(), **fields, "survived": False, "failure": "the bond C0–H1 is 0.6 Å off"})
    failed = Stability(**{**failed.to_dict(), "duration_ps": 0.3, "timestep_fs": 0.5})
    results = Results(stability=failed)
    text = " ".join(outline(write_report(tmp_path, results, gates_of(results), [], FACTS)).text)
    assert "FAILED 5 of 5 gates" in text and "the bond C0–H1 is 0.6 Å off" in text and "not measured" in text


def test_names_given_by_users_cannot_become_markup(tmp_path):
    hostile = "<script>alert(1)</script>&\"'"
    facts = RunFacts(
        **{"title": hostile, "system": hostile, "formula": hostile, "elements": (hostile,), "teacher": hostile},
        **{"licence": hostile, "notes": (hostile,), "rejected": {hostile: 1}, "files": {hostile: hostile}},
        **{"environment": {hostile: hostile}, "command": hostile, "student_file": hostile},
    )
    parser = outline(write_report(tmp_path, RESULTS, gates_of(RESULTS), [], facts))
    assert "script" not in parser.tags and hostile in parser.text
    write_model_card(tmp_path / "README.md", RESULTS, facts, "")
    outside_code = re.sub(r"```.*?```", "", (tmp_path / "README.md").read_text(), flags=re.S)
    assert "<script" not in outside_code


def test_summary_is_read_back_as_written_with_units_in_its_keys(tmp_path):
    written = write_summary(tmp_path, RESULTS, gates_of(RESULTS), {"phases_s": {"training": 185.0}, "seed": 3})
    read = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert read == written
    assert read["passed"] is True and read["verdict"] == sentence(gates_of(RESULTS))
    assert read["force_mae_meV_per_A"] == 14.82 and read["energy_mae_meV_per_atom"] == 0.437
    assert read["nve_drift_meV_per_atom_per_ps"] == 0.00312  # its size; the sign is in the details
    assert read["details"]["stability"]["drift_meV_per_atom_per_ps"] == -0.00312
    assert read["speed_up"] == pytest.approx(6.1 / 1.2) and read["student_threads"] == 2
    assert read["force_mae_per_element_meV_per_A"] == {"H": 9.13, "C": 18.6}
    assert read["phases_s"] == {"training": 185.0} and read["seed"] == 3
    assert [gate["passed"] for gate in read["gates"] if gate["bar"] is not None] == [True] * 5


def test_what_is_no_number_is_null_in_the_summary(tmp_path):
    broken = Accuracy(**{**ACCURACY.__dict__, "force_mae_meV_per_A": math.nan, "energy_mae_meV_per_atom": math.inf})
    results = Results(accuracy=broken)
    write_summary(tmp_path, results, gates_of(results), {"loss": np.float32("nan"), "shape": np.array([1, 2])})
    text = (tmp_path / "summary.json").read_text(encoding="utf-8")
    read = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert read["force_mae_meV_per_A"] is None and read["energy_mae_meV_per_atom"] is None and read["loss"] is None
    assert read["passed"] is False and read["shape"] == [1, 2] and read["nve_duration_ps"] is None


def test_a_fact_cannot_overwrite_a_figure(tmp_path):
    with pytest.raises(InputError, match="has its own force_mae_meV_per_A"):
        write_summary(tmp_path, RESULTS, [], {"force_mae_meV_per_A": 0.0})
    with pytest.raises(TypeError, match="object has no place in JSON"):
        plain({"what": object()})


def test_the_model_card_says_what_a_user_must_know(tmp_path):
    write_model_card(tmp_path / "README.md", RESULTS, FACTS, sentence(gates_of(RESULTS)))
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    for words in (
        *(
            "# Aspirin from GFN2-xTB",
            "GFN2-xTB (tblite 0.8.0)",
            'StudentCalculator("student.safetensors")',
            "14.8 meV/Å",
        ),
        *(
            "0.00312 ± 0.00105 meV/atom/ps",
            "LGPL-3.0-or-later",
            "Knows H, C, O only",
            "711 meV/Å",
            "All 5 gates passed",
        ),
    ):
        assert words in card


class TestFigures:
    def test_equal_figures_give_equal_files(self, tmp_path):
        energy = np.arange(5.0)
        files = [accuracy.energy_parity(tmp_path / str(i), energy, energy + 0.1, np.full(5, 3)) for i in range(2)]
        assert files[0].svg.read_bytes() == files[1].svg.read_bytes()
        assert files[0].png.read_bytes() == files[1].png.read_bytes()

    def test_each_is_a_png_and_an_svg_with_a_caption(self, figures):
        for saved in figures:
            assert saved.png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and b"<svg" in saved.svg.read_bytes()[:1000]
            assert saved.caption.endswith(".") and saved.name == saved.svg.stem == saved.png.stem

    def test_captions_carry_the_figures(self, figures):
        captions = {saved.name: saved.caption for saved in figures}
        assert "MAE 20.0 meV/Å" in captions["force_parity"]
        assert "−0.00300 ± 0.00100 meV/atom/ps" in captions["energy_conservation"]
        assert "7 of 1441 structures" in captions["rejections"]

    def test_predictions_that_are_no_numbers_still_leave_a_figure(self, tmp_path):
        nothing = np.full((4, 3), np.nan)
        assert accuracy.force_parity(tmp_path, np.ones((4, 3)), nothing).svg.exists()

    def test_nothing_to_show_is_no_figure(self, tmp_path):
        assert data.rejections(tmp_path, {}, 10) is None
        assert learning.learning_curves(tmp_path, [{"step": 0, "train/other": 1.0}], {}, PANELS) is None
