import math

import pytest

from training.report.gates import Gate, Measure, all_passed, figure, judge, sentence

MEASURES = {"error": Measure("relative error"), "speed": Measure("speed-up", "×", at_least=True)}


def test_measures_decide_order_words_and_direction():
    gates = judge({"speed": 3.0, "error": 1e-3}, {"error": 1e-2, "speed": 2.0}, MEASURES)
    assert [gate.key for gate in gates] == ["error", "speed"] and [gate.passed for gate in gates] == [True, True]
    assert sentence(gates) == "All 2 gates passed: relative error 0.00100 (bar 0.01), speed-up 3.00 × (at least 2)."


def test_a_bar_without_a_measurement_fails_and_a_measurement_without_a_bar_is_reported():
    gates = judge({"speed": 3.0}, {"error": 1e-2}, MEASURES)
    assert [gate.passed for gate in gates] == [False, None] and not all_passed(gates)
    assert sentence(gates) == "FAILED 1 of 1 gates: relative error not measured (bar 0.01)."


def test_nothing_measured_and_nothing_asked_is_no_gate():
    assert judge({"error": None}, {"error": None}, MEASURES) == []
    assert sentence([]) == "No gate was set: the figures are reported, not judged."


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at_least", [True, False])
def test_a_measurement_that_is_no_number_fails_in_either_direction(value, at_least):
    assert Gate("x", "x", value, 1.0, "", at_least).passed is False


def test_a_gate_knows_its_direction():
    assert str(Gate("speed_up", "speed-up", 12.0, 10.0, "×", at_least=True)) == "speed-up 12.0 × (at least 10)"
    assert Gate("e", "e", 1.0, 1.0, "").passed and Gate("e", "e", 1.0, 1.0, "", at_least=True).passed


def test_what_failed_stands_first_and_alone():
    gates = judge({"speed": 3.0, "error": 2e-2}, {"error": 1e-2, "speed": 2.0}, MEASURES)
    assert sentence(gates) == "FAILED 1 of 2 gates: relative error 0.0200 (bar 0.01). The other 1 passed."


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((14.812, "14.8"), (0.006123, "0.00612"), (1234.5, "1234"), (0.0, "0"), (3e-7, "3.0e-07")),
        *((math.nan, "not a number"), (math.inf, "not a number"), (-14.812, "-14.8")),
    ],
)
def test_numbers_have_three_significant_digits(value, text):
    assert figure(value) == text
