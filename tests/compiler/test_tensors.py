"""Tensors that a compiled function is given, makes, changes in place and returns behave as in eager runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from steps import Compile, batch, captures, compare, images, perceptron, plain

import nnfast
from nnfast import functional as F
from nnfast import nn, optim

pytestmark = pytest.mark.usefixtures("backend")


def test_gradients_of_arguments() -> None:
    def build(how: Compile) -> Any:
        model = perceptron()
        kept = batch(0)[0].requires_grad_()

        @how
        def step(x: Any, y: Any) -> Any:
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss, x

        def call(i: int) -> Any:
            x = kept if i % 2 else batch(i)[0].requires_grad_()
            return step(x, batch(i)[1]), x.grad

        return call, (model, kept)

    [step] = compare(build, 8)
    assert captures(step) <= 4


def test_gradients_of_arguments_within_the_function() -> None:
    def build(how: Compile) -> Any:
        model = perceptron()
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        @how
        def step(x: Any, y: Any) -> Any:
            x.requires_grad_()
            F.cross_entropy(model(x), y).backward()
            moved = (x.detach() + x.grad * 10).requires_grad_()
            optimizer.zero_grad()
            loss = F.cross_entropy(model(moved), y)
            loss.backward()
            optimizer.step()
            return loss, moved.grad

        def call(i: int) -> Any:
            x, y = batch(i)
            return step(x, y), x

        return call, (model, optimizer)

    [step] = compare(build)
    assert captures(step) <= 2  # the first call finds no gradients of parameters


def test_retained_gradients() -> None:
    def build(how: Compile) -> Any:
        layer = nn.Linear(5, 3)

        @how
        def step(x: Any) -> Any:
            hidden = layer(x)
            hidden.retain_grad()
            hidden.square().sum().backward()
            return hidden, hidden.grad

        return lambda i: step(batch(i)[0]), layer

    compare(build)


def test_random_tensors() -> None:
    def build(how: Compile) -> Any:
        generator = np.random.default_rng(5)

        @how
        def step(x: Any) -> Any:
            y = x + nnfast.randn(6, 5) * nnfast.rand_like(x) + nnfast.rand(6, 5, generator=generator)
            z = F.dropout(y, 0.5) + nnfast.zeros(6, 5).uniform_(-1, 1)
            return z, nnfast.randint(0, 9, (4,)), nnfast.randperm(5), nnfast.randn(2, 3, 4, 4).normal_()

        def call(i: int) -> Any:
            if i == 2:
                nnfast.manual_seed(7)
            return step(batch(i)[0])

        return call, []

    [step] = compare(build)
    assert captures(step) == 1


def test_tensors_made_inside_begin_anew() -> None:
    def build(how: Compile) -> Any:
        @how
        def step(x: Any) -> Any:
            a, b, c = nnfast.zeros(6, 5), nnfast.ones_like(x), nnfast.full((6, 5), 0.5)
            d, e = nnfast.tensor([1.0, 2.0, 3.0, 4.0, 5.0]), nnfast.linspace(0, 1, 5)
            f, g = nnfast.arange(6), nnfast.eye(5)
            for changed in (a, b, c, d, e):
                changed += x if changed.ndim == 2 else x[0]
            a[1] = 3.0
            b[:, 2] = x[:, 0]
            c[0, 0] = 1
            f[2] = 7
            g.mul_(x[1])
            d.fill_(2).add_(e)
            a.relu_()
            return a, b, c, d, e, f, g, nnfast.tensor(3), nnfast.empty(2).fill_(4.0)

        return lambda i: step(batch(i)[0]), []

    [step] = compare(build)
    assert captures(step) == 1


def test_shapes_and_parts() -> None:
    def build(how: Compile) -> Any:
        weight = nn.Parameter(nnfast.randn(3, 4))

        @how
        def step(x: Any) -> Any:
            weight.grad = None
            parts = [x[:, 1], x[1:3, :, ::2].flatten(1), x.permute(0, 2, 3, 1), x.reshape(4, -1), x.flatten(1)[:, 3:9]]
            parts += [
                nnfast.cat([x, x[:1]]),
                nnfast.stack([x[0], x[1]], 1),
                x.view(-1).unflatten(0, (8, -1)),
                *x.chunk(2),
            ]
            parts += [
                F.pad(x, (1, 2)),
                weight.t(),
                weight.view(-1),
                weight.flatten()[2:],
                weight.unsqueeze(0).squeeze(0),
            ]
            loss = sum((part * 2 + 1).square().mean() for part in parts)
            loss.backward()
            return loss, parts

        return lambda i: step(images(i)[0]), weight

    [step] = compare(build)
    assert captures(step) == 1


def test_integers_are_rearranged() -> None:
    def build(how: Compile) -> Any:
        model = perceptron()
        seen = nnfast.zeros(6, dtype=nnfast.int64)

        @how
        def step(x: Any, y: Any, mask: Any) -> Any:
            model.zero_grad()
            labels = nnfast.cat([y, y[::2], y[1:2]])
            loss = F.cross_entropy(model(nnfast.cat([x, x[::2], x[1:2]])), labels)
            loss.backward()
            seen.copy_(y)
            return loss, labels, y.reshape(2, 3).t(), mask.t().clone(), y.clone(), mask

        def call(i: int) -> Any:
            mask = nnfast.from_numpy(np.random.default_rng(i).integers(0, 2, (2, 3)).astype(bool))
            return step(*batch(i), mask)

        return call, (model, seen)

    [step] = compare(build)
    assert captures(step) == 1


def test_parameters_and_the_same_tensor_twice_as_arguments() -> None:
    def build(how: Compile) -> Any:
        weights = [nn.Parameter(nnfast.randn(5)), nn.Parameter(nnfast.randn(5))]

        @how
        def step(weight: Any, a: Any, b: Any) -> Any:
            loss = (weight * a * b).sum()
            loss.backward()
            a.add_(1)
            return weight, loss, b

        def call(i: int) -> Any:
            a, b = (batch(j)[0][0].clone() for j in (i, i + 1))
            return step(weights[i // 2 % 2], a, a if i % 2 else b), a, b

        return call, weights

    compare(build, 8)


def test_methods_are_compiled_for_each_instance() -> None:
    class Scale(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        @nnfast.compile
        def forward(self, x: Any) -> Any:
            return x * self.factor

    one, two = Scale(2.0), Scale(3.0)
    for _ in range(2):
        assert one(nnfast.ones(1)).item() == 2
        assert two(nnfast.ones(1)).item() == 3
    one.factor = 4.0
    assert one(nnfast.ones(1)).item() == 4


def test_results_belong_to_the_caller() -> None:
    model = perceptron()
    optimizer = optim.SGD(model.parameters(), lr=0.5)

    @plain
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        output = model(x)
        loss = F.cross_entropy(output, y)
        loss.backward()
        optimizer.step()
        return loss, output, output

    results = [step(*batch(0)) for _ in range(5)]
    losses = [loss.item() for loss, _, _ in results]
    assert losses == sorted(losses, reverse=True)
    assert len(set(losses)) == 5
    assert (results[0][1].detach() * 2).tolist() != (results[1][1].detach() * 2).tolist()
    with pytest.raises(RuntimeError, match="compiled function"):
        results[0][0].backward()


def test_memory_of_arrays_is_read_in_every_run() -> None:
    array, other = np.ones(3, np.float32), np.ones(3, np.float32)
    x, outside = nnfast.from_numpy(array), nnfast.from_numpy(other)
    add = nnfast.compile(lambda x: x + outside)
    assert add(x).tolist() == [2, 2, 2]
    array[1], other[2] = 5, 7
    assert add(x).tolist() == [2, 6, 8]


def test_inference_and_modes_of_recording() -> None:
    def build(how: Compile) -> Any:
        model = perceptron()

        @how
        def forward(x: Any) -> Any:
            with nnfast.no_grad():
                first = model(x)
            return first, model(x)

        def call(i: int) -> Any:
            with nnfast.set_grad_enabled(i % 2 == 0):
                return forward(batch(i)[0])

        return call, model

    [forward] = compare(build)
    assert captures(forward) == 2


def test_eager_tapes_notice_what_a_plan_changed() -> None:
    layer = nn.Linear(5, 3)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    x = batch(0)[0].requires_grad_()

    @plain
    def step(data: Any, changed: Any) -> None:
        optimizer.zero_grad()
        layer(data).sum().backward()
        optimizer.step()
        changed.mul_(2)

    changed = nnfast.ones(6, 5)
    step(batch(1)[0], changed)
    for y in (layer(x), x * changed, (x[0, :3] * layer.bias.grad)):
        step(batch(1)[0], changed)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()
