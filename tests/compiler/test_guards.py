"""What may change between calls: a plan follows it, or the function is captured again; the bits are those of eager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from steps import Compile, batch, captures, compare, perceptron

import nnfast
from nnfast import functional as F
from nnfast import nn, optim
from nnfast.optim import lr_scheduler

pytestmark = pytest.mark.usefixtures("backend")

Change = Callable[[nn.Module, optim.Optimizer], Any]


def build_step(make: Callable[[Any], optim.Optimizer], changes: dict[int, Change], dropout: float = 0.0) -> Any:
    """A step with something done before the calls of some numbers."""

    def build(how: Compile) -> Any:
        model = perceptron(dropout)
        optimizer = make(model)

        @how
        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        def call(i: int) -> Any:
            changes.get(i, lambda *_: None)(model, optimizer)
            return step(*batch(i))

        return call, (model, optimizer)

    return build


def sgd(model: nn.Module) -> optim.Optimizer:
    return optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def adam(model: nn.Module) -> optim.Optimizer:
    return optim.AdamW(model.parameters(), lr=0.01)


def assign(**settings: Any) -> Change:
    return lambda _, optimizer: optimizer.param_groups[0].update(settings)


def freeze(model: nn.Module, wanted: bool) -> None:
    model[0].requires_grad_(wanted)


def load(model: nn.Module, optimizer: optim.Optimizer) -> None:
    model.load_state_dict({name: value * 0.5 for name, value in model.state_dict().items()})
    optimizer.load_state_dict({**optimizer.state_dict()})


def replace_state(model: nn.Module, optimizer: optim.Optimizer) -> None:
    optimizer.state[model[0].weight]["momentum_buffer"] = nnfast.ones(8, 5)
    del optimizer.state[model[0].bias]


def replace_layer(model: nn.Module, optimizer: optim.Optimizer) -> None:
    model[3] = nn.Linear(8, 3)
    optimizer.add_param_group({"params": model[3].parameters(), "lr": 0.3})


def assign_data(model: nn.Module, _: Any) -> None:
    model[0].weight.data = model[0].weight.data * 2


FOLLOWED = {
    "lr": (sgd, {1: assign(lr=0.5), 3: assign(lr=0.0)}),
    "momentum": (sgd, {1: assign(momentum=0.5), 3: assign(weight_decay=0.1)}),
    "betas": (adam, {1: assign(betas=(0.5, 0.9)), 2: assign(eps=1e-3, weight_decay=0.3)}),
    "load_state_dict": (sgd, {2: load}),
    "mode set again": (sgd, {2: lambda model, _: model.train()}),
    "zero_grad outside": (sgd, {2: lambda model, _: model.zero_grad()}),
}
CAPTURED_AGAIN = {
    "momentum turned on": (lambda m: optim.SGD(m.parameters(), lr=0.1), {2: assign(momentum=0.9)}),
    "centered": (lambda m: optim.RMSprop(m.parameters(), lr=0.1), {2: assign(centered=True, momentum=0.5)}),
    "group added": (
        lambda m: optim.SGD(m[0].parameters(), lr=0.1),
        {2: lambda m, o: o.add_param_group({"params": m[3].parameters()})},
    ),
    "frozen": (sgd, {1: lambda m, _: freeze(m, False), 3: lambda m, _: freeze(m, True)}),
    "state replaced": (sgd, {2: replace_state}),
    "state cleared": (adam, {2: lambda _, o: o.state.clear()}),
    "data assigned": (sgd, {2: assign_data}),
    "module replaced": (sgd, {2: replace_layer}),
    "mode": (sgd, {1: lambda m, _: m.eval(), 2: lambda m, _: m.train()}),
    "mode of a part": (sgd, {2: lambda m, _: setattr(m[2], "training", False)}),
    "dropout": (sgd, {2: lambda m, _: setattr(m[2], "p", 0.2)}),
    "hook": (sgd, {2: lambda m, _: m[0].register_forward_hook(lambda module, args, y: y * 2)}),
    "parameter": (sgd, {2: lambda m, _: m[0]._parameters.update(weight=nn.Parameter(m[0].weight.detach() * 3))}),
    "layer appended": (sgd, {2: lambda m, _: m.append(nn.ReLU())}),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_changes_that_a_plan_follows(name: str) -> None:
    [step] = compare(build_step(*FOLLOWED[name]), 5)
    assert captures(step) == 1


@pytest.mark.parametrize("name", CAPTURED_AGAIN)
def test_changes_that_need_another_capture(name: str) -> None:
    [step] = compare(build_step(*CAPTURED_AGAIN[name], dropout=0.4), 5)
    # Gradients of parameters that the optimizer does not know add up, which is another plan from the second call on.
    assert captures(step) == (3 if name in ("group added", "parameter") else 2)


SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "one cycle": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, max_lr=0.3, total_steps=20),
    "lambda": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step),
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=4),
    "plateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("where", ["before", "after", "outside"])
@pytest.mark.parametrize("make", [sgd, adam])
def test_schedules(name: str, where: str, make: Callable[[Any], optim.Optimizer]) -> None:
    def build(how: Compile) -> Any:
        model = perceptron()
        optimizer = make(model)
        scheduler = SCHEDULES[name](optimizer)
        metric = [1.0] if name == "plateau" else []

        @how
        def step(x: Any, y: Any) -> Any:
            if where == "before":
                scheduler.step(*metric)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            if where == "after":
                scheduler.step(*metric)
            return loss

        def call(i: int) -> Any:
            loss = step(*batch(i))
            if where == "outside":
                scheduler.step(*([loss.item()] if metric else []))
            return loss, scheduler.get_last_lr(), scheduler.last_epoch

        return call, (model, optimizer)

    [step] = compare(build, 6)
    assert captures(step) == 1


def test_momentum_of_batch_norm_is_followed() -> None:
    def build(how: Compile) -> Any:
        norm = nn.BatchNorm1d(5)
        forward = how(lambda x: norm(x).sum())

        def call(i: int) -> Any:
            norm.momentum = [0.1, 0.5, 0.2, None][i]
            return forward(batch(i)[0]), norm.momentum

        return call, norm

    [forward] = compare(build)
    assert captures(forward) == 2


def test_attributes_and_methods_of_modules() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(5, 5)])
            self.factor, self.act = 1.0, F.relu
            self.last: Any = None

        def encode(self, x: Any) -> Any:
            for layer in self.layers:
                x = layer(x)
            self.last = x
            return self.act(x * self.factor) if self.training else x

    def build(how: Compile) -> Any:
        model = Scaled()
        around = {"model": model}
        forward, decide = how(model.encode), how(lambda x: x * model.factor if model.training else x)
        found = how(lambda x: around["model"].encode(x))

        def call(i: int) -> Any:
            if i == 1:
                model.factor = 3.0
            if i == 2:
                model.act = F.sigmoid
            if i == 3:
                model.layers.append(nn.Linear(5, 5))
            if i == 4:
                model.eval()
            return forward(batch(i // 5)[0]), decide(batch(0)[0]), found(batch(1)[0])

        return call, model

    assert [captures(function) for function in compare(build, 7)] == [5, 5, 5]


def test_gradients_taken_away_outside() -> None:
    def build(how: Compile) -> Any:
        layer = nn.Linear(5, 3)

        @how
        def micro(x: Any) -> Any:
            loss = layer(x).square().sum()
            loss.backward()
            return loss

        def call(i: int) -> Any:
            if i in (2, 5):
                layer.weight.grad = None
            if i == 3:
                layer.bias.grad = nnfast.ones(3)
            return micro(batch(i)[0])

        return call, layer

    compare(build, 7)


def test_flags_set_by_turns_in_two_functions() -> None:
    def build(how: Compile) -> Any:
        a, b = nn.Linear(5, 5), nn.Linear(5, 5)

        def training(one: Any, other: Any) -> Any:
            @how
            def step(x: Any) -> Any:
                one.requires_grad_(True)
                other.requires_grad_(False)
                one.zero_grad()
                loss = other(one(x)).square().mean()
                loss.backward()
                return loss

            return step

        steps = training(a, b), training(b, a)
        return lambda i: steps[i % 2](batch(i)[0]), (a, b)

    for step in compare(build, 9):
        assert captures(step) <= 3


def test_modes_set_by_turns_in_two_functions() -> None:
    def build(how: Compile) -> Any:
        model = perceptron(dropout=0.5)

        @how
        def train(x: Any) -> Any:
            model.train()
            return model(x)

        @how
        def evaluate(x: Any) -> Any:
            model.eval()
            return model(x)

        def call(i: int) -> Any:
            return (train, train, evaluate)[i % 3](batch(i)[0]), model.training, model[0].training

        return call, model

    for function in compare(build, 12):
        assert captures(function) <= 2


def test_plain_arguments_have_plans_of_their_own() -> None:
    def build(how: Compile) -> Any:
        scale = how(lambda x, factor, *, mode=None: x * factor if mode is None else x + factor)
        options = [(2, None), (2.0, None), (True, None), (0.0, "add"), (-0.0, "add"), (2, None)]
        return lambda i: scale(batch(i)[0], options[i][0], mode=options[i][1]), []

    [scale] = compare(build, 6)
    assert captures(scale) == 5
    with pytest.raises(TypeError, match="expected tensors"):
        scale(batch(0)[0], {1, 2})
