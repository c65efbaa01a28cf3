"""Fronts and hypervolumes against sets whose answers are known."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.design.pareto import hypervolume_history, nondominated, to_losses

BOTH_UP = ("accuracy_mean", "tops_per_watt")


def test_hypervolume_of_a_staircase_is_its_area():
    # rectangles 0.5 x 4 and 0.9 x 1 overlap in 0.5 x 1; the third point lies inside
    history = hypervolume_history(BOTH_UP, [(0.5, 4.0), (0.9, 1.0), (0.4, 0.5)])
    assert history == pytest.approx([2.0, 2.4, 2.4])


def test_what_is_minimized_counts_from_the_worst_seen():
    # areas 3 and 1 mm2 from the worst, 3 mm2: (3 - 1) * 0.5 for the second, none for the first
    history = hypervolume_history(("accuracy_mean", "area_m2"), [(0.9, 3e-6), (0.5, 1e-6)])
    assert history == pytest.approx([0.0, 1e-6])


def test_a_score_below_zero_adds_no_volume():
    history = hypervolume_history(BOTH_UP, [(-0.5, 4.0), (0.5, 2.0), (-2.0, 9.0)])
    assert history == pytest.approx([0.0, 1.0, 1.0])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30))
def test_the_front_holds_exactly_what_nothing_dominates(values):
    losses = to_losses(BOTH_UP, values)
    mask = nondominated(losses)
    for i, here in enumerate(losses):
        dominated = any(np.all(other <= here) and np.any(other < here) for other in losses)
        assert mask[i] == (not dominated)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=15))
def test_the_hypervolume_of_whole_numbers_is_a_count_of_unit_squares(values):
    squares: set[tuple[int, int]] = set()
    for (x, y), volume in zip(values, hypervolume_history(BOTH_UP, values), strict=True):
        squares |= set(itertools.product(range(x), range(y)))
        assert volume == pytest.approx(len(squares))
