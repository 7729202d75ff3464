"""Capacities that grow, and launches that are recorded where there are graphs and simply run elsewhere."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlff.kernels.cuda_graph import SMALLEST_ROOM, WARM_UPS, Capacity, CapacityExceeded, Recorded, rounded_up

NUMBERS = st.integers(0, 10_000_000)
CAPACITIES = st.builds(Capacity, NUMBERS, NUMBERS, NUMBERS)


class TestCapacity:
    @given(NUMBERS)
    def test_rounding_wastes_at_most_an_eighth_and_takes_few_values(self, number):
        room = rounded_up(number)
        assert max(number, SMALLEST_ROOM) <= room <= max(1.125 * number, SMALLEST_ROOM)
        assert rounded_up(room) == room and room % (1 << max(room.bit_length() - 4, 0)) == 0

    @given(CAPACITIES, CAPACITIES)
    def test_growing_holds_what_is_needed_and_keeps_what_suffices(self, room, needed):
        grown = room.grown_for(needed)
        assert grown.holds(needed) and grown.holds(room)
        if room.holds(needed):
            assert grown == room

    @given(CAPACITIES, CAPACITIES)
    def test_refuses_exactly_what_does_not_fit(self, room, needed):
        if room.holds(needed):
            room.require(needed)
        else:
            with pytest.raises(CapacityExceeded, match="larger capacity"):
                room.require(needed)

    def test_names_what_is_too_much(self):
        with pytest.raises(CapacityExceeded, match=r"^2,000 edges where 1,000 fit: "):
            Capacity(10, 1000).require(Capacity(10, 2000))

    def test_slowly_growing_systems_make_new_memory_rarely(self):
        room, growths = Capacity(0, 0, 0), 0
        for edges in range(1, 100_000, 7):
            if not room.holds(Capacity(1, edges)):
                room, growths = room.grown_for(Capacity(1, edges)), growths + 1
        assert growths < 80


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_launches_run_at_every_call_over_the_same_memory(device):
    calls = []
    given, answer = torch.zeros(3, device=device), torch.zeros(3, device=device)

    def launches():
        calls.append(1)
        torch.mul(given, 2, out=answer)

    work = Recorded(launches, torch.device(device))
    for number in (1.0, 5.0, -2.0):
        given.fill_(number)
        work()
        assert answer.tolist() == [2 * number] * 3
    # on a GPU the first call warms up and records, and later ones only replay
    assert (work.recordings, len(calls)) == ((1, WARM_UPS + 1) if device == "cuda" else (0, 3))
