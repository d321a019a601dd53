import gc
import threading
import time
import warnings

import numpy as np
import pytest

import nnfast.random
from nnfast.data import ArrayDataset, DataLoader, Dataset, TensorDataset, default_collate
from nnfast.data.transforms import Compose, Normalize, RandomCrop, RandomHorizontalFlip
from nnfast.tensor import Tensor


def numbered(n=10):
    """n images whose pixels and label are their number."""
    pixels = np.broadcast_to(np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1), (n, 3, 4, 4))
    return ArrayDataset(pixels.copy(), np.arange(n))


class OneByOne(Dataset):
    """The same samples as ``numbered()``, without the fast path; counts what is loaded."""

    def __init__(self, n=10):
        self.n, self.loaded = n, []

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        self.loaded.append(index)
        return np.full((3, 4, 4), index / 255, dtype=np.float32), index


def labels_of(batches):
    return [labels.numpy().tolist() for _, labels in batches]


def bits_of(batches):
    return [(images.numpy().tobytes(), labels.numpy().tolist()) for images, labels in batches]


def workers_alive():
    return [thread for thread in threading.enumerate() if thread.name.startswith("nnfast-data")]


@pytest.mark.parametrize("make", [numbered, OneByOne])
@pytest.mark.parametrize("num_workers", [0, 3])
def test_batches_in_order(make, num_workers):
    loader = DataLoader(make(), batch_size=4, num_workers=num_workers)
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    assert labels_of(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    for batch in batches:
        assert type(batch) is list  # as PyTorch's
        images, labels = batch
        assert isinstance(images, Tensor)
        assert images.numpy().dtype == np.float32
        assert labels.numpy().dtype == np.int64
        assert tuple(images.shape[1:]) == (3, 4, 4)
        assert images.numpy().transpose(0, 2, 3, 1).flags.c_contiguous
        assert np.allclose(images.numpy()[:, 0, 0, 0] * 255, labels.numpy())


def test_drop_last_and_default_batch_size():
    loader = DataLoader(numbered(), batch_size=4, drop_last=True)
    assert labels_of(loader) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(loader) == 2
    assert labels_of(DataLoader(numbered(3))) == [[0], [1], [2]]


def test_shuffle_is_a_permutation_that_changes_with_epoch_and_seed():
    loader = DataLoader(numbered(50), batch_size=50, shuffle=True, seed=1)
    epochs = [labels_of(loader)[0] for _ in range(3)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in [*epochs, list(range(50))]}) == 4
    assert labels_of(DataLoader(numbered(50), batch_size=50, shuffle=True, seed=2))[0] != epochs[0]


def test_order_depends_on_seed_and_epoch_alone():
    loader = DataLoader(numbered(50), batch_size=7, shuffle=True, seed=1)
    epochs = [labels_of(loader) for _ in range(4)]
    other = DataLoader(numbered(50), batch_size=7, shuffle=True, seed=1, num_workers=2)
    next(iter(other))  # an epoch that was left early counts
    assert other.epoch == 1
    assert labels_of(other) == epochs[1]
    other.set_epoch(3)
    assert labels_of(other) == epochs[3]
    other.set_epoch(0)
    assert labels_of(other) == epochs[0]
    assert labels_of(other) == epochs[1]


def augmenting(num_workers, make=numbered):
    transform = Compose([RandomCrop(4, padding=2), RandomHorizontalFlip()])
    return DataLoader(make(40), 6, shuffle=True, seed=3, transform=transform, num_workers=num_workers)


@pytest.mark.parametrize("make", [numbered, OneByOne])
def test_any_number_of_workers_gives_the_same_bits(make):
    runs = []
    for num_workers in (0, 1, 4):
        loader = augmenting(num_workers, make)
        runs.append([bits_of(loader) for _ in range(2)])
    assert runs[0] == runs[1] == runs[2]
    assert runs[0][0] != runs[0][1]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_epoch_gives_the_same_bits(num_workers):
    whole = bits_of(augmenting(0))
    loader = augmenting(num_workers)
    for start in range(len(whole) + 1):
        loader.set_epoch(0)
        assert bits_of(loader.batches(start)) == whole[start:]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("order", [{"batch_size": 3}, {"batch_size": 3, "sampler": range(10)}, {"batch_sampler": "2"}])
def test_skipped_batches_are_not_loaded(num_workers, order):
    if "batch_sampler" in order:
        order = {"batch_sampler": [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]}
    data = OneByOne()
    assert labels_of(DataLoader(data, num_workers=num_workers, **order).batches(start=2)) == [[6, 7, 8], [9]]
    assert sorted(data.loaded) == [6, 7, 8, 9]


@pytest.mark.parametrize("start", [-1, 5])
def test_start_out_of_range(start):
    with pytest.raises(ValueError, match=f"DataLoader.batches: start is {start}, expected 0..4"):
        DataLoader(numbered(), 3).batches(start)


def test_transform_gets_images_and_a_generator_of_its_own_for_each_batch():
    seen = []

    def record(images, generator):
        seen.append((images.shape, images.dtype, generator.random()))
        return images + 1

    images, _ = next(iter(DataLoader(numbered(), 4, transform=record, seed=0)))
    assert images.numpy()[0, 0, 0, 0] == 1
    seen.clear()
    for _ in range(2):
        list(DataLoader(numbered(), 4, transform=record, seed=0))
    assert [shape for shape, _, _ in seen[:3]] == [(4, 3, 4, 4), (4, 3, 4, 4), (2, 3, 4, 4)]
    assert {dtype for _, dtype, _ in seen} == {np.dtype(np.float32)}
    assert len({number for _, _, number in seen}) == 3
    assert seen[:3] == seen[3:]


def test_each_epoch_has_random_numbers_of_its_own():
    seen = []
    loader = DataLoader(numbered(), 10, seed=0, transform=lambda x, generator: seen.append(generator.random()) or x)
    for epoch in (0, 1, 0):
        loader.set_epoch(epoch)
        list(loader)
    assert seen[0] == seen[2] != seen[1]


def test_transform_of_samples_that_are_images_alone():
    class Images(OneByOne):
        def __getitem__(self, index):
            return super().__getitem__(index)[0]

    (batch,) = DataLoader(Images(2), 2, transform=lambda images, generator: images * 0, seed=0)
    assert batch.numpy().max() == 0


def test_transform_needs_an_image_first():
    loader = DataLoader([{"image": 1}], transform=lambda images, generator: images, seed=0)
    with pytest.raises(TypeError, match=r"DataLoader: transform needs samples that are images or tuples .* dict"):
        next(iter(loader))


@pytest.mark.parametrize(("result", "found"), [(None, "NoneType"), (np.zeros((3, 1)), r"shape \(3, 1\)")])
def test_transform_must_return_as_many_images(result, found):
    loader = DataLoader(numbered(), 4, transform=lambda images, generator: result, seed=0)
    with pytest.raises(TypeError, match=f"DataLoader: transform .* returned {found}, expected .* of 4 images"):
        next(iter(loader))


def test_seed_comes_from_the_generator_once():
    loader = DataLoader(numbered(50), 50, shuffle=True, generator=np.random.default_rng(5))
    assert loader.seed == int(np.random.default_rng(5).integers(2**63))
    explicit = DataLoader(numbered(50), 50, shuffle=True, seed=loader.seed)
    assert [labels_of(loader) for _ in range(2)] == [labels_of(explicit) for _ in range(2)]


def test_seed_comes_from_the_global_generator_at_first_need(monkeypatch):
    monkeypatch.setattr(nnfast.random, "default_generator", lambda: np.random.default_rng(11))
    loader = DataLoader(numbered(50), 50, shuffle=True)
    assert labels_of(loader)
    assert loader.seed == int(np.random.default_rng(11).integers(2**63))


def test_no_seed_is_drawn_without_need(monkeypatch):
    monkeypatch.setattr(nnfast.random, "default_generator", None)
    assert len(list(DataLoader(numbered(), 4, num_workers=1))) == 3


def test_seed_may_be_set_to_resume():
    loader = DataLoader(numbered(50), 50, shuffle=True)
    loader.seed = 8
    assert labels_of(loader) == labels_of(DataLoader(numbered(50), 50, shuffle=True, seed=8))


def test_setting_the_seed_does_not_reach_into_a_running_epoch():
    loader = augmenting(0)
    whole = bits_of(augmenting(0))
    running = iter(loader)
    first = next(running)
    loader.seed = 99
    assert bits_of([first, *running]) == whole


@pytest.mark.parametrize("seed", [-1, 1.5, "1"])
def test_wrong_seed(seed):
    with pytest.raises(ValueError, match=r"DataLoader: seed is .*, expected an integer that is not negative"):
        DataLoader(numbered(), seed=seed)


@pytest.mark.parametrize("epoch", [-1, 1.5, None])
def test_wrong_epoch(epoch):
    with pytest.raises(
        ValueError, match=r"DataLoader.set_epoch: epoch is .*, expected an integer that is not negative"
    ):
        DataLoader(numbered()).set_epoch(epoch)


@pytest.mark.parametrize("make", [numbered, OneByOne])
def test_sampler(make):
    loader = DataLoader(make(), batch_size=2, sampler=[4, 2, 9])
    assert labels_of(loader) == [[4, 2], [9]]
    assert len(loader) == 2
    assert labels_of(DataLoader(make(), batch_size=2, sampler=[4, 2, 9], drop_last=True)) == [[4, 2]]


def test_batch_sampler():
    loader = DataLoader(numbered(), batch_sampler=[[1], [2, 3]])
    assert labels_of(loader) == [[1], [2, 3]]
    assert len(loader) == 2
    assert loader.batch_size is None


def test_a_sampler_may_give_keys_of_any_kind():
    loader = DataLoader({"a": 1, "b": 2}, batch_size=2, sampler=["b", "a"])
    assert next(iter(loader)).numpy().tolist() == [2, 1]


def test_set_epoch_is_told_to_the_sampler():
    class Sampler(list):
        def set_epoch(self, epoch):
            self.epoch = epoch

    sampler, batch_sampler = Sampler([1]), Sampler([[1]])
    DataLoader(numbered(), sampler=sampler).set_epoch(4)
    DataLoader(numbered(), batch_sampler=batch_sampler).set_epoch(5)
    assert (sampler.epoch, batch_sampler.epoch) == (4, 5)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_collate_fn_gets_samples_and_its_result_is_untouched(num_workers):
    seen = []

    def collate(samples):
        seen.append(samples)
        return len(samples)

    assert list(DataLoader(OneByOne(), 4, collate_fn=collate, num_workers=num_workers)) == [4, 4, 2]
    assert [label for _, label in sorted(seen, key=lambda samples: samples[0][1])[0]] == [0, 1, 2, 3]
    assert list(DataLoader(numbered(), 4, collate_fn=lambda samples: samples[0][1])) == [0, 4, 8]


def test_the_default_collate_fn_may_be_named():
    assert DataLoader(numbered()).collate_fn is default_collate
    assert labels_of(DataLoader(numbered(2), 2, collate_fn=default_collate)) == [[0, 1]]


def test_a_subclass_that_augments_is_not_bypassed():
    class Negated(ArrayDataset):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return image, -label

    data = Negated(np.zeros((3, 1, 1, 1), dtype=np.uint8), [0, 1, 2])
    assert labels_of(DataLoader(data, 3)) == [[0, -1, -2]]


def test_getitems_is_used():
    class AtOnce(OneByOne):
        def __getitems__(self, indices):
            assert indices == [0, 1]
            return [(np.zeros((1, 1, 1)), 7)] * 2

    assert labels_of(DataLoader(AtOnce(2), 2)) == [[7, 7]]


def test_tensor_dataset_batches():
    data = TensorDataset(np.arange(6, dtype=np.float32).reshape(3, 2), np.arange(3))
    x, y = next(iter(DataLoader(data, 2)))
    assert x.numpy().tolist() == [[0, 1], [2, 3]]
    assert y.numpy().tolist() == [0, 1]


class Breaks(OneByOne):
    def __getitem__(self, index):
        if index == 5:
            raise KeyError("five")
        return super().__getitem__(index)


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_errors_come_out_with_their_type_after_the_batches_before(num_workers):
    iterator = iter(DataLoader(Breaks(), 2, num_workers=num_workers))
    assert labels_of([next(iterator), next(iterator)]) == [[0, 1], [2, 3]]
    with pytest.raises(KeyError, match="five"):
        next(iterator)
    assert not workers_alive()


def test_errors_of_the_sampler_come_out():
    def sampler():
        yield 1
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        list(DataLoader(numbered(), sampler=sampler(), num_workers=2))
    assert not workers_alive()


def test_leaving_a_loop_leaves_no_threads():
    loader = DataLoader(OneByOne(100), 2, num_workers=3)
    for _ in loader:
        assert workers_alive()
        break
    gc.collect()
    assert not workers_alive()
    list(loader)
    assert not workers_alive()
    iter(loader)
    assert not workers_alive()


@pytest.mark.parametrize(("num_workers", "factor", "ahead"), [(1, 1, 1), (2, None, 4), (2, 3, 6)])
def test_no_more_is_loaded_ahead_than_agreed(num_workers, factor, ahead):
    data = OneByOne(100)
    iterator = iter(DataLoader(data, 1, num_workers=num_workers, prefetch_factor=factor))
    for taken in (1, 2, 3):
        next(iterator)
        # What is in flight besides the batches given out, once the workers had time to load it.
        expected = taken + ahead - 1
        deadline = time.monotonic() + 10
        while len(data.loaded) < expected and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
        assert len(data.loaded) == expected
    iterator.close()


def test_workers_load_at_the_same_time():
    meeting = threading.Barrier(3, timeout=30)

    class Meets(OneByOne):
        def __getitem__(self, index):
            meeting.wait()
            return index

    assert len(list(DataLoader(Meets(6), 1, num_workers=3))) == 6


def test_worker_init_fn_runs_once_in_each_thread():
    seen = []
    meeting = threading.Barrier(2, timeout=30)

    class Meets(OneByOne):
        def __getitem__(self, index):
            meeting.wait()
            return index

    def start(number):
        seen.append((number, threading.current_thread().name))

    list(DataLoader(Meets(8), 1, num_workers=2, worker_init_fn=start))
    assert sorted(number for number, _ in seen) == [0, 1]
    assert len({thread for _, thread in seen}) == 2


def test_an_error_in_worker_init_fn_comes_out():
    def start(number):
        raise OSError("no start")

    with pytest.raises(OSError, match="no start"):
        list(DataLoader(numbered(), num_workers=1, worker_init_fn=start))


class Stuck(OneByOne):
    def __init__(self, release):
        super().__init__(4)
        self.release = release

    def __getitem__(self, index):
        self.release.wait(30)
        return index


def test_timeout():
    release = threading.Event()
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=r"DataLoader: no batch after timeout = 0.05 seconds"):
        list(DataLoader(Stuck(release), num_workers=1, timeout=0.05))
    assert time.monotonic() - started < 10
    release.set()


def test_a_timeout_error_of_the_dataset_is_its_own():
    class Late(OneByOne):
        def __getitem__(self, index):
            raise TimeoutError("disk")

    with pytest.raises(TimeoutError, match="disk"):
        list(DataLoader(Late(), num_workers=1, timeout=20))


def test_pin_memory_warns_as_pytorch_does():
    with pytest.warns(UserWarning, match="pin_memory=True has no effect"):
        loader = DataLoader(numbered(), 10, pin_memory=True)
    assert len(list(loader)) == 1


def test_persistent_workers_is_accepted_with_workers():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(DataLoader(numbered(), 10, num_workers=1, persistent_workers=True))) == 1


def test_an_empty_dataset():
    class Empty(OneByOne):
        def __len__(self):
            return 0

    assert list(DataLoader(Empty())) == []
    assert len(DataLoader(Empty())) == 0
    with pytest.raises(ValueError, match="DataLoader: dataset is empty, expected at least one sample to shuffle"):
        DataLoader(Empty(), shuffle=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0, expected a positive integer"),
        ({"batch_size": True}, "batch_size is True, expected a positive integer"),
        ({"batch_size": 2.0}, "batch_size is 2.0, expected a positive integer"),
        ({"batch_size": None}, r"batch_size=None \(no batching\) is not supported"),
        ({"shuffle": 2}, "shuffle is 2, expected True or False"),
        ({"drop_last": 1}, "drop_last is 1, expected True or False"),
        ({"sampler": [0], "shuffle": True}, "sampler excludes shuffle=True"),
        ({"batch_sampler": [[0]], "batch_size": 2}, "batch_sampler excludes batch_size, shuffle, sampler and drop"),
        ({"batch_sampler": [[0]], "shuffle": True}, "batch_sampler excludes"),
        ({"batch_sampler": [[0]], "sampler": [0]}, "batch_sampler excludes"),
        ({"batch_sampler": [[0]], "drop_last": True}, "batch_sampler excludes"),
        ({"num_workers": -1}, "num_workers is -1, expected an integer that is not negative"),
        ({"num_workers": 1.5}, "num_workers is 1.5, expected an integer that is not negative"),
        ({"timeout": -1}, "timeout is -1, expected a number that is not negative"),
        ({"timeout": 1}, "timeout needs workers, got num_workers = 0"),
        ({"prefetch_factor": 2}, "prefetch_factor needs workers, got num_workers = 0"),
        ({"prefetch_factor": 0, "num_workers": 1}, "prefetch_factor is 0, expected a positive integer"),
        ({"persistent_workers": True}, "persistent_workers needs workers, got num_workers = 0"),
        ({"multiprocessing_context": "fork", "num_workers": 1}, "multiprocessing_context is 'fork', expected None"),
        ({"transform": len, "collate_fn": list}, "transform excludes collate_fn"),
        ({"seed": 1, "generator": np.random.default_rng(0)}, "got both generator and seed, expected one of them"),
    ],
)
def test_arguments_that_are_refused(arguments, message):
    with pytest.raises(ValueError, match="DataLoader: " + message):
        DataLoader(numbered(), **arguments)


@pytest.mark.parametrize(
    ("dataset", "arguments", "message"),
    [
        ({1, 2}, {}, "dataset is set without __getitem__; iterable-style data sets are not supported"),
        (type("Endless", (), {"__getitem__": len})(), {}, "dataset is Endless without __len__"),
        ([1], {"generator": 3}, "generator is int, expected a numpy.random.Generator; for a number use seed="),
    ],
)
def test_arguments_of_wrong_types(dataset, arguments, message):
    with pytest.raises(TypeError, match="DataLoader: " + message):
        DataLoader(dataset, **arguments)


def test_positional_order_is_pytorchs():
    loader = DataLoader(OneByOne(), 3, False, None, None, 2, list, False, True, 7, print, None, None)
    assert (loader.batch_size, loader.num_workers, loader.collate_fn) == (3, 2, list)
    assert (loader.drop_last, loader.timeout, loader.worker_init_fn) == (True, 7, print)


def test_no_generator_is_made_for_transforms_that_draw_nothing(monkeypatch):
    given = []
    data = ArrayDataset(np.zeros((4, 1, 2, 2), np.uint8), [0, 1, 0, 1])

    def random(images, generator):
        given.append(generator)
        return images

    monkeypatch.setattr("nnfast.data.loader.generator_for", lambda *_: "made")
    still = Compose([Normalize(0.5, 0.25)])
    assert not still.draws
    for transform in (still, Compose([still, random]), random):
        list(DataLoader(data, 4, transform=transform))
    assert given == ["made", "made"]
    monkeypatch.setattr("nnfast.data.loader.generator_for", lambda *_: pytest.fail("made"))
    list(DataLoader(data, 4, transform=still))
