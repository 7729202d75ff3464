import math

import pytest

from mlff.validate.gates import MEASURES, judge, sentence
from mlff.validate.results import Results
from mlff.validate.settings import GateSettings
from training.report.gates import all_passed

NONE = dict.fromkeys(GateSettings.model_fields)


def bars(**given):
    return GateSettings(**{**NONE, **given})


def test_a_bar_without_a_measurement_fails():
    gates = judge(Results().figures(), bars(force_mae_meV_per_A=25.0))
    assert [gate.passed for gate in gates] == [False] and not all_passed(gates)
    assert sentence(gates) == "FAILED 1 of 1 gates: forces not measured (bar 25)."


def test_every_default_bar_fails_when_nothing_was_measured():
    gates = judge(Results().figures(), GateSettings())
    assert len(gates) == sum(value is not None for value in GateSettings().model_dump().values())
    assert all(gate.passed is False for gate in gates)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_measurement_that_is_no_number_fails(value):
    assert judge({"energy_mae_meV_per_atom": value}, bars(energy_mae_meV_per_atom=1.0))[0].passed is False


@pytest.mark.parametrize(("value", "passed"), [(24.9, True), (25.0, True), (25.1, False)])
def test_an_error_must_not_exceed_its_bar(value, passed):
    assert judge({"force_mae_meV_per_A": value}, bars(force_mae_meV_per_A=25.0))[0].passed is passed


@pytest.mark.parametrize(("value", "passed"), [(9.9, False), (10.0, True), (11.0, True)])
def test_a_speed_up_must_reach_its_bar(value, passed):
    assert judge({"speed_up": value}, bars(speed_up=10.0))[0].passed is passed


def test_without_a_bar_a_figure_is_reported_and_not_judged():
    gates = judge({"force_mae_meV_per_A": 500.0}, bars())
    assert [gate.passed for gate in gates] == [None] and all_passed(gates)
    assert sentence(gates) == "No gate was set: the figures are reported, not judged."


def test_every_bar_has_a_figure_of_its_name_and_words_for_it():
    assert set(GateSettings.model_fields) <= set(Results().figures())
    assert {gate.key for gate in judge({}, GateSettings(**dict.fromkeys(NONE, 1.0)))} == set(GateSettings.model_fields)
    assert set(MEASURES) == set(GateSettings.model_fields)


def test_the_verdict_in_words_names_values_bars_and_units():
    settings = bars(force_mae_meV_per_A=25.0, nve_drift_meV_per_atom_per_ps=0.02)
    good = judge({"force_mae_meV_per_A": 14.812, "nve_drift_meV_per_atom_per_ps": 0.00314}, settings)
    assert sentence(good) == (
        "All 2 gates passed: forces 14.8 meV/Å (bar 25), energy drift 0.00314 meV/atom/ps (bar 0.02)."
    )
    bad = judge({"force_mae_meV_per_A": 31.0, "nve_drift_meV_per_atom_per_ps": 0.00314}, settings)
    assert sentence(bad) == "FAILED 1 of 2 gates: forces 31.0 meV/Å (bar 25). The other 1 passed."


def test_the_reason_why_dynamics_stopped_is_in_the_verdict():
    gates = judge({}, bars(nve_drift_meV_per_atom_per_ps=0.02))
    assert sentence(gates, "the temperature reached 9000 K at 0.100 ps").endswith(
        "The dynamics stopped: the temperature reached 9000 K at 0.100 ps."
    )
