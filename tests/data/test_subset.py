import warnings

import numpy as np
import pytest

from nnfast.data import ArrayDataset, ConcatDataset, Subset, TensorDataset, random_split
from nnfast.data.subset import takes_batches


def digits_of(labels):
    return ArrayDataset(np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1), labels)


def test_subset_picks_by_index():
    part = Subset(digits_of([0, 1, 2, 3]), [3, 1])
    assert len(part) == 2
    assert [label for _, label in part] == [3, 1]
    assert part[-1][1] == 1
    assert part.labels.tolist() == [3, 1]
    assert part.images.ravel().tolist() == [3, 1]
    assert part.classes == ["0", "1", "2", "3"]
    with pytest.raises(IndexError):
        part[2]


def test_subset_takes_batches_from_below():
    images, labels = Subset(Subset(digits_of([0, 1, 2, 3]), [3, 1, 0]), [2, 0]).take([1, 0, 1])
    assert labels.tolist() == [3, 0, 3]
    assert (images.ravel() * 255).round().tolist() == [3, 0, 3]


def test_subset_of_a_plain_dataset_has_no_class_names():
    part = Subset(["a", "b"], [1])
    assert part[0] == "b"
    assert not hasattr(part, "classes")
    assert Subset(Subset(["a", "b", "c"], [2, 1, 0]), [0, 1])[1] == "b"


def test_subset_hands_a_list_of_indices_down():
    data = TensorDataset(np.arange(5))
    assert Subset(data, [4, 2, 0])[[0, 2]][0].tolist() == [4, 0]


def test_concat():
    joined = ConcatDataset([["a"], [], ["b", "c"]])
    assert list(joined) == ["a", "b", "c"]
    assert joined[-1] == "c"
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"ConcatDataset: index {index} is out of range for 3 samples"):
            joined[index]
    with pytest.raises(ValueError, match="ConcatDataset: datasets is empty"):
        ConcatDataset([])


@pytest.mark.parametrize(
    ("n", "lengths", "sizes"),
    [
        (10, [7, 3], [7, 3]),
        (10, [10, 0], [10, 0]),
        (10, [0.5, 0.5], [5, 5]),
        (11, [0.3, 0.3, 0.4], [4, 3, 4]),  # as PyTorch: what is left goes round from the first part
    ],
)
def test_random_split_sizes(n, lengths, sizes):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parts = random_split(range(n), lengths, generator=np.random.default_rng(0))
    assert [len(part) for part in parts] == sizes
    assert sorted(sample for part in parts for sample in part) == list(range(n))


def test_random_split_is_random_and_repeatable():
    first, again, other = (list(random_split(range(50), [50], np.random.default_rng(seed))[0]) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert first != list(range(50))


def test_random_split_uses_the_global_generator():
    assert sorted(random_split(range(5), [5])[0]) == list(range(5))


@pytest.mark.parametrize("lengths", [[4, 5], [0.1, 0.1], [11, -1], [2.5, 7.5]])
def test_random_split_of_wrong_sizes(lengths):
    with pytest.raises(ValueError, match=r"random_split: lengths are \[.*\], expected sizes that sum to .* = 10"):
        random_split(range(10), lengths, np.random.default_rng(0))


def test_random_split_of_wrong_fractions():
    with pytest.raises(ValueError, match=r"random_split: lengths\[0\] is 1.5, expected a fraction in 0..1"):
        random_split(range(10), [1.5, -0.5], np.random.default_rng(0))


def test_random_split_warns_of_a_part_that_got_nothing():
    with pytest.warns(UserWarning, match=r"lengths\[1\] of 1 samples gives an empty part"):
        random_split(range(1), [0.5, 0.5], np.random.default_rng(0))


def test_a_replaced_getitem_is_never_bypassed():
    class Augmented(ArrayDataset):
        def __getitem__(self, index):
            return super().__getitem__(index)

    class Both(Augmented):
        def take(self, indices):
            return super().take(indices)

    class Untouched(ArrayDataset):
        pass

    arrays = np.zeros((2, 1, 1, 1), dtype=np.uint8), [0, 1]
    assert takes_batches(ArrayDataset(*arrays))
    assert takes_batches(Untouched(*arrays))
    assert takes_batches(TensorDataset(*map(np.asarray, arrays)))
    assert takes_batches(Subset(ArrayDataset(*arrays), [0]))
    assert not takes_batches(Augmented(*arrays))
    assert not takes_batches(Subset(Augmented(*arrays), [0]))
    assert takes_batches(Both(*arrays))
    assert not takes_batches([1, 2])
