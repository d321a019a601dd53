"""Compiled steps give the bits of eager ones, whatever a step is made of: losses, states, gradients, buffers."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from steps import Compile, batch, captures, compare, convnet, images, perceptron

import nnfast
from nnfast import functional as F
from nnfast import nn, optim

pytestmark = pytest.mark.usefixtures("backend")

Pair = namedtuple("Pair", "x y")

OPTIMIZERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01),
    "nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, maximize=True),
    "adam": lambda p: optim.Adam(p, lr=0.01, weight_decay=0.01),
    "adamw": lambda p: optim.AdamW(p, lr=0.01),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.01),
    "adadelta": lambda p: optim.Adadelta(p, lr=1.0),
}


def step_of(how: Compile, model: nn.Module, optimizer: optim.Optimizer, make: Callable[..., Any] = batch) -> Any:
    """The usual step."""

    @how
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        output = model(x)
        loss = F.cross_entropy(output, y)
        loss.backward()
        optimizer.step()
        return loss, output

    return lambda i: step(*make(i)), (model, optimizer)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_step_of_every_optimizer(name: str) -> None:
    def build(how: Compile) -> Any:
        model = perceptron()
        return step_of(how, model, OPTIMIZERS[name](model.parameters()))

    [step] = compare(build)
    assert captures(step) == 1


@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": None}, {"track_running_stats": False}, {"affine": False}, {"momentum": 0.5, "eps": 1e-3}],
    ids=str,
)
def test_batch_norm(options: dict[str, Any]) -> None:
    def build(how: Compile) -> Any:
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, **options), nn.ReLU(), nn.Flatten(),
                              nn.Linear(64, 6), nn.BatchNorm1d(6, **options), nn.Linear(6, 3))  # fmt: skip
        return step_of(how, model, optim.SGD(model.parameters(), lr=0.1), images)

    compare(build)


def test_batch_norm_twice_in_one_step_counts_twice() -> None:
    def build(how: Compile) -> Any:
        norm = nn.BatchNorm1d(5, momentum=None)
        step = how(lambda x: (norm(x) + norm(x * 2)).sum())
        return lambda i: step(batch(i)[0]), norm

    compare(build)


def test_dropout_draws_the_masks_of_eager_runs() -> None:
    def build(how: Compile) -> Any:
        model = perceptron(dropout=0.5)
        return step_of(how, model, optim.SGD(model.parameters(), lr=0.0))

    compare(build)
    model = perceptron(dropout=0.5)
    forward = nnfast.compile(model)
    assert forward(batch(0)[0]).tolist() != forward(batch(0)[0]).tolist()


def test_nested_arguments_and_results() -> None:
    def build(how: Compile) -> Any:
        model = perceptron()

        @how
        def step(data: Any, pair: Pair, *, factor: float, names: tuple[str, ...]) -> Any:
            model.zero_grad()
            outputs = [model(x) for x in data["inputs"]]
            first, second = (F.cross_entropy(output, pair.y) * factor for output in outputs)
            (first + second).backward()
            found = defaultdict(list, outputs=outputs)
            return Pair(first, {"second": second, "none": None, names[0]: (3, "text")}), OrderedDict(found), found

        def call(i: int) -> Any:
            x, y = batch(i)
            return step({"inputs": [x, batch(i + 9)[0]]}, Pair(x, y), factor=0.5 * (i % 2 + 1), names=("a",))

        return call, model

    [step] = compare(build)
    assert captures(step) == 2
    assert isinstance(step({"inputs": [batch(0)[0]] * 2}, Pair(*batch(0)), factor=1.0, names=("a",))[2], defaultdict)


def test_several_losses_and_backward_calls() -> None:
    def build(how: Compile) -> Any:
        model = perceptron()
        shared = nn.Linear(3, 3)

        @how
        def step(x: Any, y: Any) -> Any:
            model.zero_grad()
            hidden = model(x)
            first, second = F.cross_entropy(hidden, y), shared(shared(hidden)).square().mean()
            first.backward(retain_graph=True)
            second.backward(retain_graph=True)
            second.backward(nnfast.full((), 0.5))
            return first, second

        return lambda i: step(*batch(i)), (model, shared)

    compare(build)


def test_accumulation_over_calls() -> None:
    def build(how: Compile) -> Any:
        model, other = perceptron(), perceptron()
        optimizer = optim.SGD([*model.parameters(), *other.parameters()], lr=0.1, momentum=0.9)

        @how
        def micro(x: Any, y: Any) -> Any:
            loss = F.cross_entropy(model(x) + other(x), y)
            loss.backward()
            return loss

        update = how(optimizer.step)

        def call(i: int) -> Any:
            loss = micro(*batch(i, n=6 if i % 3 else 4))
            if i % 2:
                (update if i % 4 == 1 else optimizer.step)()
                optimizer.zero_grad(set_to_none=i % 4 == 1)
            return loss

        return call, (model, other, optimizer)

    micro, update = compare(build, 12)
    assert captures(micro) <= 4
    assert captures(update) == 1


@pytest.mark.parametrize("set_to_none", [True, False])
def test_accumulation_within_a_function(set_to_none: bool) -> None:
    def build(how: Compile) -> Any:
        model = convnet()
        optimizer = optim.Adam(model.parameters(), lr=0.01)

        @how
        def step(batches: Any) -> Any:
            losses = []
            for x, y in batches:
                losses.append(F.cross_entropy(model(x), y) / len(batches))
                losses[-1].backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=set_to_none)
            return losses

        return lambda i: step([images(i), images(i + 20)]), (model, optimizer)

    [step] = compare(build)
    assert captures(step) <= 2


@pytest.mark.parametrize("how_to_clip", ["norm", "value"])
def test_clipping(how_to_clip: str) -> None:
    def build(how: Compile) -> Any:
        model = perceptron()
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        @how
        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            norm = None
            if how_to_clip == "norm":
                norm = nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            else:
                nn.utils.clip_grad_value_(model.parameters(), 0.01)
            optimizer.step()
            return loss, norm

        return lambda i: step(*batch(i)), (model, optimizer)

    compare(build)


def test_two_optimizers_and_groups() -> None:
    def build(how: Compile) -> Any:
        maker, judge = nn.Linear(4, 5), nn.Linear(5, 1)
        groups = [{"params": [maker.weight], "lr": 0.2, "momentum": 0.9}, {"params": [maker.bias]}]
        first, second = optim.SGD(groups, lr=0.1), optim.Adam(judge.parameters(), lr=0.01)

        @how
        def step(x: Any) -> Any:
            noise = nnfast.randn(6, 4)
            second.zero_grad()
            real, made = judge(x), judge(maker(noise).detach())
            loss = (real - 1).square().mean() + made.square().mean()
            loss.backward()
            second.step()
            first.zero_grad()
            judge.requires_grad_(False)
            other = (judge(maker(noise)) - 1).square().mean()
            other.backward()
            first.step()
            judge.requires_grad_(True)
            return loss, other

        return lambda i: step(batch(i)[0]), (maker, judge, first, second)

    [step] = compare(build)
    assert captures(step) == 1


@pytest.mark.parametrize("how_to_mix", ["mul_add", "copy", "data"])
def test_moving_average_of_parameters(how_to_mix: str) -> None:
    def build(how: Compile) -> Any:
        model, average = perceptron(), perceptron()
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        @how
        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            for mean, p in zip(average.parameters(), model.parameters(), strict=True):
                if how_to_mix == "data":
                    mean.data.mul_(0.9).add_(p.data, alpha=0.1)
                    continue
                with nnfast.no_grad():
                    if how_to_mix == "copy":
                        mean.copy_(mean + (p - mean) * 0.1)
                    else:
                        mean.mul_(0.9).add_(p, alpha=0.1)
            return loss

        return lambda i: step(*batch(i)), (model, average)

    [step] = compare(build)
    assert captures(step) == 1


def test_float64_on_the_reference_backend(reference: None) -> None:
    def build(how: Compile) -> Any:
        model = convnet().double()
        optimizer = optim.Adam(model.parameters(), lr=0.01)
        call, watched = step_of(how, model, optimizer, lambda i: (images(i)[0].double(), images(i)[1]))
        return call, watched

    compare(build)


def test_alternating_sizes_share_memory() -> None:
    def build(how: Compile) -> Any:
        model = convnet()
        return step_of(how, model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
                       lambda i: images(i, n=8 if i % 3 else 3))  # fmt: skip

    [step] = compare(build, 8)
    assert captures(step) == 2
    plans = [variant.plan for variants in step.variants.values() for variant in variants]
    assert all(plan.arena is step.arena for plan in plans)
    assert step.arena.memory.nbytes < 2 * max(plan.size for plan in plans) + (1 << 21)


def test_compiled_function_within_another() -> None:
    def build(how: Compile) -> Any:
        model = perceptron()
        inner = how(lambda x: model(x).square())

        @how
        def step(x: Any) -> Any:
            model.zero_grad()
            loss = inner(x).mean()
            loss.backward()
            return loss

        return lambda i: step(batch(i)[0]), model

    inner, _ = compare(build)
    assert captures(inner) == 0


def test_read_only_and_empty_arguments() -> None:
    array = np.ones((2, 3), np.float32)
    array.flags.writeable = False
    step = nnfast.compile(lambda x, nothing: (x * 2, nothing, nothing * 2))
    for _ in range(2):
        doubled, nothing, also = step(nnfast.from_numpy(array), nnfast.zeros(0, 3))
        assert doubled.tolist() == [[2.0] * 3] * 2
        assert nothing.shape == also.shape == (0, 3)
