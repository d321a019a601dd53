import numpy as np
import pytest

from nnfast.data.order import generator_for, permutation, stratified_split


def test_permutation_holds_each_index_once():
    assert np.array_equal(np.sort(permutation(1000, 3, 1)), np.arange(1000))
    assert permutation(0, 3).shape == (0,)
    assert permutation(5, 3).dtype == np.int64


def test_permutation_is_fixed_for_good():
    # From PCG64's raw stream, which NumPy promises never to change: these numbers are part of every held-out split.
    assert permutation(8, 0).tolist() == [3, 2, 1, 6, 0, 7, 4, 5]


@pytest.mark.parametrize("other", [(4, 1, 2), (3, 2, 2), (3, 1, 3), (3, 1)])
def test_orders_and_generators_differ_by_seed_and_key(other):
    assert permutation(50, 3, 1, 2).tolist() == permutation(50, 3, 1, 2).tolist()
    assert permutation(50, 3, 1, 2).tolist() != permutation(50, *other).tolist()
    assert generator_for(3, 1, 2).random() == generator_for(3, 1, 2).random()
    assert generator_for(3, 1, 2).random() != generator_for(*other).random()


def test_stratified_split_is_complete_and_keeps_proportions():
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    rest, held = stratified_split(labels, 32, seed=5)
    assert np.array_equal(np.sort(np.concatenate([rest, held])), np.arange(160))
    assert np.bincount(labels[held]).tolist() == [20, 10, 2]
    assert np.any(np.diff(labels[rest]) < 0)  # shuffled, not class by class


def test_stratified_split_depends_on_the_seed_alone():
    labels = np.repeat([0, 1], 20)
    first, again, other = (stratified_split(labels, 10, seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again
    assert sorted(first) != sorted(other)


@pytest.mark.parametrize("held_out", [0, 1, 6])
def test_stratified_split_gives_the_number_asked_for(held_out):
    rest, held = stratified_split(np.array([0, 0, 0, 1, 1, 2]), held_out, seed=0)
    assert (len(rest), len(held)) == (6 - held_out, held_out)
