"""A reference is computed once for its settings, and a damaged file is noticed."""

import numpy as np
import pytest

from pinn.references.cache import cache_folder, cached


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path))
    return tmp_path / "references"


class Counter:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"a": np.arange(6.0).reshape(2, 3), "floor": np.array(1e-9)}


def test_is_computed_once_and_read_back_bit_for_bit(folder):
    compute = Counter()
    first = cached("heat", {"n": 3}, compute)
    second = cached("heat", {"n": 3}, compute)
    assert compute.calls == 1
    assert all(np.array_equal(first[name], second[name]) for name in ("a", "floor"))
    assert second["a"].dtype == np.float64 and second["floor"].shape == ()


def test_other_settings_are_another_file(folder):
    compute = Counter()
    for settings in ({"n": 3}, {"n": 4}, {"n": 3, "version": 2}):
        cached("heat", settings, compute)
    assert compute.calls == 3 and len(list(folder.iterdir())) == 3


def test_a_truncated_file_is_computed_anew_with_a_warning(folder):
    compute = Counter()
    cached("heat", {"n": 3}, compute)
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.warns(UserWarning, match=f"{path.name}.*computed anew"):
        again = cached("heat", {"n": 3}, compute)
    assert compute.calls == 2 and np.array_equal(again["a"], compute()["a"])
    assert np.array_equal(cached("heat", {"n": 3}, compute)["a"], again["a"]) and compute.calls == 3


def test_a_flipped_bit_is_noticed(folder):
    compute = Counter()
    cached("heat", {"n": 3}, compute)
    (path,) = folder.iterdir()
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(bytes(content))
    with pytest.warns(UserWarning, match="damaged"):
        again = cached("heat", {"n": 3}, compute)
    assert np.array_equal(again["a"], np.arange(6.0).reshape(2, 3))


def test_a_folder_that_cannot_be_written_costs_the_keeping_only(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("LIMBECK_CACHE", str(blocked))
    with pytest.warns(UserWarning, match="LIMBECK_CACHE"):
        arrays = cached("heat", {"n": 3}, Counter())
    assert arrays["floor"] == 1e-9


def test_the_folder_is_the_users_choice_then_the_platforms(monkeypatch, tmp_path):
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("LIMBECK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "platform"))
    assert cache_folder() == tmp_path / "platform" / "limbeck"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "limbeck"
