import json
import math
from pathlib import Path

import numpy as np
import pytest

from training.errors import InputError
from training.report.gates import Gate
from training.report.summary import FILE_NAME, plain, write_summary

GATES = [Gate("error", "error", 0.5, 1.0, ""), Gate("speed", "speed", 1.0, 2.0, "×", at_least=True)]


def test_figures_stand_flat_beside_verdict_gates_details_and_facts(tmp_path):
    written = write_summary(tmp_path, GATES, "in words", {"error": 0.5}, {"parts": {"n": 3}}, {"seed": 7})
    read = json.loads((tmp_path / FILE_NAME).read_text(encoding="utf-8"))
    assert read == written
    assert read["passed"] is False and read["verdict"] == "in words" and read["error"] == 0.5 and read["seed"] == 7
    assert [gate["passed"] for gate in read["gates"]] == [True, False] and read["details"] == {"parts": {"n": 3}}


@pytest.mark.parametrize("name", ["passed", "error", "details"])
def test_a_fact_cannot_overwrite_a_figure(tmp_path, name):
    with pytest.raises(InputError, match=f"has its own {name}"):
        write_summary(tmp_path, GATES, "", {"error": 0.5}, {}, {name: 0})
    assert not (tmp_path / FILE_NAME).exists()


def test_what_json_cannot_say_becomes_null_a_list_or_text():
    value = {1: np.float32(0.5), "a": np.array([1.0, math.nan]), "p": Path("x") / "y", "t": (True, None), "i": math.inf}
    assert plain(value) == {"1": 0.5, "a": [1.0, None], "p": "x/y", "t": [True, None], "i": None}
    with pytest.raises(TypeError, match="object has no place in JSON"):
        plain(object())
