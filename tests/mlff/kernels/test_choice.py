"""Which implementation of the kernels is chosen, and what is said where the fast one cannot be."""

import pytest
import torch

from mlff.kernels import choose


class TestChoice:
    def test_auto_is_numba_on_a_cpu_and_the_reference_elsewhere(self):
        assert choose("auto", torch.device("cpu"), torch.float32) == "numba"
        assert choose("auto", torch.device("meta"), torch.float32) == "reference"
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert choose("auto", torch.device("cpu"), torch.float32) == "reference"

    @pytest.mark.parametrize(
        ("name", "device", "dtype", "message"),
        [
            ("fast", "cpu", torch.float32, "choose one of"),
            ("numba", "cuda", torch.float32, "on the CPU"),
            ("numba", "cpu", torch.float16, "float32 or float64"),
        ],
    )
    def test_an_impossible_choice_is_named(self, name, device, dtype, message):
        with pytest.raises(ValueError, match=message):
            choose(name, torch.device(device), dtype)

    def test_a_fast_path_that_cannot_be_used_says_so_once(self, caplog):
        from mlff.kernels import _announce

        _announce.cache_clear()
        for _ in range(3):
            choose("auto", torch.device("meta"), torch.float32)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "cannot be used" in caplog.text
