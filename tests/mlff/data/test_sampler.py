"""Batches are a pure function of seed, epoch and position, stay within their limits, and lose no structure."""

import itertools
import json
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlff.data.sampler import EdgeLimitedBatchSampler
from training.errors import ConfigurationError

EDGES = st.lists(st.integers(0, 60), min_size=1, max_size=60)


def make(edges, max_edges=100, max_structures=5, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return EdgeLimitedBatchSampler(edges, max_edges, max_structures, **options)


@given(edges=EDGES, max_edges=st.integers(30, 200), max_structures=st.integers(1, 8), epoch=st.integers(0, 9))
def test_an_epoch_holds_every_structure_once_within_the_limits(edges, max_edges, max_structures, epoch):
    plan = make(edges, max_edges, max_structures, seed=3).plan(epoch)
    assert sorted(index for batch in plan for index in batch) == list(range(len(edges)))
    for batch in plan:
        assert len(batch) == 1 or (len(batch) <= max_structures and sum(edges[i] for i in batch) <= max_edges)


@given(edges=EDGES, accumulate=st.integers(1, 5), max_structures=st.integers(1, 8), epoch=st.integers(0, 3))
def test_groups_are_whole_and_every_micro_batch_knows_its_group(edges, accumulate, max_structures, epoch):
    if len(edges) < accumulate:
        with pytest.raises(ConfigurationError, match="cannot fill"):
            make(edges, accumulate=accumulate)
        return
    plan = make(edges, 100, max_structures, accumulate=accumulate).plan(epoch)
    assert plan and len(plan) % accumulate == 0 and all(plan)
    drawn = [index for batch in plan for index in batch]
    assert len(set(drawn)) == len(drawn)
    # structures wait for another epoch only where every batch is down to one, and fewer than a group of them
    assert len(drawn) == len(edges) or (all(len(b) == 1 for b in plan) and len(edges) - len(drawn) < accumulate)
    for first in range(0, len(plan), accumulate):
        group = plan[first : first + accumulate]
        assert {batch.group for batch in group} == {tuple(index for batch in group for index in batch)}


@pytest.mark.parametrize("accumulate", [2, 3, 5])
def test_k_micro_batches_together_are_exactly_the_structures_of_one_large_batch(accumulate):
    edges = np.random.default_rng(0).integers(10, 20, size=60 * accumulate)
    small = make(edges, max_edges=10**6, max_structures=4, accumulate=accumulate, seed=1)
    large = make(edges, max_edges=10**6, max_structures=4 * accumulate, seed=1)
    for epoch in range(3):
        batches = small.plan(epoch)
        groups = [batches[i : i + accumulate] for i in range(0, len(batches), accumulate)]
        joined = [list(itertools.chain(*group)) for group in groups]
        assert joined == [list(batch) for batch in large.plan(epoch)]


class TestResume:
    EDGES = np.random.default_rng(1).integers(5, 50, size=83)

    def batches(self, sampler, count):
        """The next batches as a training loop with a prefetching loader takes them."""
        taken = []
        while len(taken) < count:
            epoch = iter(sampler)
            ahead = list(itertools.islice(epoch, 3))  # handed out, perhaps never trained on
            while ahead and len(taken) < count:
                taken.append(list(ahead.pop(0)))
                sampler.advance()
                ahead += itertools.islice(epoch, 1)
        return taken

    @pytest.mark.parametrize("done", [0, 1, 7, 20, 29, 57])
    def test_a_resumed_sampler_yields_the_same_remaining_batches(self, done):
        whole = self.batches(make(self.EDGES, seed=5, accumulate=2), 70)
        first = make(self.EDGES, seed=5, accumulate=2)
        assert self.batches(first, done) == whole[:done]
        state = json.loads(json.dumps(first.state_dict()))  # plain values survive any checkpoint
        second = make(self.EDGES, seed=5, accumulate=2)
        second.load_state_dict(state)
        assert self.batches(second, 70 - done) == whole[done:]

    def test_prefetching_does_not_move_the_position(self):
        sampler = make(self.EDGES)
        assert len(list(sampler)) == sampler.batches_per_epoch
        assert (sampler.epoch, sampler.position) == (0, 0)

    def test_after_the_last_batch_the_next_epoch_begins_in_another_order(self):
        sampler = make(self.EDGES)
        first = [list(batch) for batch in sampler]
        for _ in first:
            sampler.advance()
        assert (sampler.epoch, sampler.position) == (1, 0)
        assert [list(batch) for batch in sampler] != first

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"seed": 6}, "seed was 5 and is 6"),
            ({"max_edges": 99}, "max_edges was 100 and is 99"),
            ({"accumulate": 2}, "accumulate was 1 and is 2"),
        ],
    )
    def test_another_order_is_refused_by_name(self, change, named):
        state = make(self.EDGES, seed=5).state_dict()
        with pytest.raises(ConfigurationError, match=named):
            make(self.EDGES, **{"seed": 5, **change}).load_state_dict(state)
        with pytest.raises(ConfigurationError, match="structures was 83 and is 82"):
            make(self.EDGES[:-1], seed=5).load_state_dict(state)


def test_seeds_and_epochs_give_different_orders_and_the_same_seed_the_same():
    edges = np.full(50, 10)
    orders = {(s, e): str(make(edges, seed=s).plan(e)) for s in range(3) for e in range(3)}
    assert len(set(orders.values())) == 9
    assert orders[2, 1] == str(make(edges, seed=2).plan(1))


def test_every_structure_is_as_likely_to_come_early_whatever_its_size():
    """Half of the structures are ten times larger; over 400 epochs the mean place of both halves is the middle."""
    edges = np.array([10, 100] * 20)
    sampler = make(edges, max_edges=300, max_structures=8)
    places = np.zeros(40)
    for epoch in range(400):
        order = [index for batch in sampler.plan(epoch) for index in batch]
        places[order] += np.arange(40)
    # a place has the variance (40² − 1)/12; the mean of 20 structures × 400 epochs deviates by 0.13, five times that
    assert abs(places[edges == 100].mean() / 400 - 19.5) < 0.65


def test_without_shuffling_the_order_of_the_data_stays():
    assert [list(b) for b in make([10] * 7, max_structures=3, shuffle=False)] == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_structure_over_the_limit_goes_alone_with_one_warning():
    with pytest.warns(
        UserWarning, match=r"2 structures have more than max_edges = 100 edges.*structure 3 has 400"
    ) as said:
        sampler = EdgeLimitedBatchSampler([10, 300, 10, 400], 100, 5)
        for epoch in range(3):
            assert all(len(b) == 1 for b in sampler.plan(epoch) if {1, 3} & set(b))
    assert len(said) == 1


@pytest.mark.parametrize("name", ["max_edges", "max_structures", "accumulate"])
def test_a_limit_below_one_is_named(name):
    with pytest.raises(ConfigurationError, match=f"{name} is 0"):
        EdgeLimitedBatchSampler(**{"edges_per_structure": [1, 2], "max_edges": 5, "max_structures": 5, name: 0})
