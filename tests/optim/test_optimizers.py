"""Optimizers against plain NumPy loops in float64, over five steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nnfast
from nnfast import nn, optim

STEPS = 5
Loop = Callable[[np.ndarray, list[np.ndarray]], np.ndarray]


def sgd(
    lr: float,
    momentum: float = 0,
    dampening: float = 0,
    weight_decay: float = 0,
    nesterov: bool = False,
    maximize: bool = False,
) -> Loop:
    def loop(p: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
        v = None
        for g in gradients:
            g = (-g if maximize else g) + weight_decay * p
            if momentum:
                v = g if v is None else momentum * v + (1 - dampening) * g
                g = g + momentum * v if nesterov else v
            p = p - lr * g
        return p

    return loop


def adam(
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0,
    decoupled: bool = False,
    maximize: bool = False,
) -> Loop:
    def loop(p: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
        m = v = np.zeros_like(p)
        for t, g in enumerate(gradients, 1):
            g = -g if maximize else g
            if decoupled:
                p = p * (1 - lr * weight_decay)
            else:
                g = g + weight_decay * p
            m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g**2
            p = p - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
        return p

    return loop


def adagrad(
    lr: float = 1e-2, lr_decay: float = 0, weight_decay: float = 0, initial: float = 0, eps: float = 1e-10
) -> Loop:
    def loop(p: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
        s = np.full_like(p, initial)
        for t, g in enumerate(gradients):
            g = g + weight_decay * p
            s = s + g**2
            p = p - lr / (1 + t * lr_decay) * g / (np.sqrt(s) + eps)
        return p

    return loop


def rmsprop(
    lr: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0,
    momentum: float = 0,
    centered: bool = False,
) -> Loop:
    def loop(p: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
        s = mean = v = np.zeros_like(p)
        for g in gradients:
            g = g + weight_decay * p
            s, mean = alpha * s + (1 - alpha) * g**2, alpha * mean + (1 - alpha) * g
            change = g / (np.sqrt(s - mean**2 if centered else s) + eps)
            v = momentum * v + change
            p = p - lr * (v if momentum else change)
        return p

    return loop


def adadelta(lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0) -> Loop:
    def loop(p: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
        s = a = np.zeros_like(p)
        for g in gradients:
            g = g + weight_decay * p
            s = rho * s + (1 - rho) * g**2
            change = g * np.sqrt(a + eps) / np.sqrt(s + eps)
            a = rho * a + (1 - rho) * change**2
            p = p - lr * change
        return p

    return loop


CASES: list[tuple[type[optim.Optimizer], dict[str, Any], Loop]] = [
    (optim.SGD, {}, sgd(1e-3)),
    (optim.SGD, {"lr": 0.1, "weight_decay": 0.3}, sgd(0.1, weight_decay=0.3)),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9}, sgd(0.1, 0.9)),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.4, "maximize": True}, sgd(0.1, 0.9, 0.4, maximize=True)),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True}, sgd(0.1, 0.9, 0, 0.1, True)),
    (optim.Adam, {}, adam()),
    (optim.Adam, {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.2}, adam(0.1, (0.8, 0.9), 1e-3, 0.2)),
    (
        optim.Adam,
        {"lr": 0.1, "weight_decay": 0.2, "decoupled_weight_decay": True},
        adam(0.1, weight_decay=0.2, decoupled=True),
    ),
    (optim.AdamW, {}, adam(weight_decay=0.01, decoupled=True)),
    (
        optim.AdamW,
        {"lr": 0.1, "weight_decay": 0.5, "maximize": True},
        adam(0.1, weight_decay=0.5, decoupled=True, maximize=True),
    ),
    (optim.Adagrad, {}, adagrad()),
    (
        optim.Adagrad,
        {"lr": 0.1, "lr_decay": 0.5, "weight_decay": 0.1, "initial_accumulator_value": 0.3, "eps": 1e-3},
        adagrad(0.1, 0.5, 0.1, 0.3, 1e-3),
    ),
    (optim.RMSprop, {}, rmsprop()),
    (optim.RMSprop, {"lr": 0.1, "alpha": 0.8, "weight_decay": 0.1, "momentum": 0.7}, rmsprop(0.1, 0.8, 1e-8, 0.1, 0.7)),
    (optim.RMSprop, {"lr": 0.1, "alpha": 0.8, "centered": True, "eps": 1e-2}, rmsprop(0.1, 0.8, 1e-2, centered=True)),
    (optim.Adadelta, {}, adadelta()),
    (optim.Adadelta, {"lr": 0.5, "rho": 0.7, "eps": 1e-3, "weight_decay": 0.2}, adadelta(0.5, 0.7, 1e-3, 0.2)),
]
IDS = [f"{kind.__name__}-{'-'.join(settings)}" for kind, settings, _ in CASES]


def run(optimizer: optim.Optimizer, p: nn.Parameter, gradients: list[np.ndarray]) -> np.ndarray:
    for g in gradients:
        p.grad = nnfast.tensor(g)
        optimizer.step()
    return p.detach().numpy()


@pytest.mark.parametrize(("kind", "settings", "loop"), CASES, ids=IDS)
@pytest.mark.parametrize("shape", [(7,), (2, 3, 2, 2)])
def test_five_steps(
    kind: type[optim.Optimizer], settings: dict, loop: Loop, shape: tuple, rng: np.random.Generator
) -> None:
    start, gradients = rng.standard_normal(shape), [rng.standard_normal(shape) for _ in range(STEPS)]
    p = nn.Parameter(nnfast.tensor(start))
    made = run(kind([p], **settings), p, gradients)
    np.testing.assert_allclose(made, loop(start, gradients), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("kind", "settings", "loop"), CASES, ids=IDS)
def test_state_round_trip(kind: type[optim.Optimizer], settings: dict, loop: Loop, rng: np.random.Generator) -> None:
    start, gradients = rng.standard_normal((2, 3, 2, 2)), [rng.standard_normal((2, 3, 2, 2)) for _ in range(STEPS)]
    first = nn.Parameter(nnfast.tensor(start))
    optimizer = kind([first], **settings)
    run(optimizer, first, gradients[:2])
    second = nn.Parameter(first.detach().clone())
    resumed = kind([second])
    resumed.load_state_dict(optimizer.state_dict())
    assert resumed.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    np.testing.assert_array_equal(run(resumed, second, gradients[2:]), run(optimizer, first, gradients[2:]))


def test_state_names_are_pytorchs() -> None:
    names = {
        optim.SGD: {"step", "momentum_buffer"},
        optim.Adam: {"step", "exp_avg", "exp_avg_sq"},
        optim.Adagrad: {"step", "sum"},
        optim.RMSprop: {"step", "square_avg", "momentum_buffer", "grad_avg"},
        optim.Adadelta: {"step", "square_avg", "acc_delta"},
    }
    settings = {optim.SGD: {"momentum": 0.9}, optim.RMSprop: {"momentum": 0.9, "centered": True}}
    for kind, expected in names.items():
        p = nn.Parameter(nnfast.ones(2))
        optimizer = kind([p], **settings.get(kind, {}))
        run(optimizer, p, [np.ones(2, np.float32)])
        state = optimizer.state_dict()
        assert set(state["state"][0]) == expected
        assert state["param_groups"][0]["params"] == [0]
        assert state["state"][0]["step"].item() == 1


def test_pytorchs_state_of_sgd_counts_no_steps() -> None:
    p = nn.Parameter(nnfast.zeros(2))
    optimizer = optim.SGD([p], lr=1.0, momentum=0.5)
    optimizer.load_state_dict(
        {
            "state": {0: {"momentum_buffer": np.array([2.0, 4.0], np.float32)}},
            "param_groups": [{"lr": 1.0, "momentum": 0.5, "params": [0]}],
        }
    )
    assert run(optimizer, p, [np.ones(2, np.float32)]).tolist() == [-2, -3]
    optimizer.load_state_dict({"state": {0: {"momentum_buffer": None}}, "param_groups": [{"lr": 1.0, "params": [0]}]})
    assert not optimizer.state_dict()["state"]


def test_loading_keeps_the_memory_of_the_state() -> None:
    p = nn.Parameter(nnfast.ones(2))
    optimizer = optim.Adam([p])
    run(optimizer, p, [np.ones(2, np.float32)])
    state, memory = optimizer.state_dict(), optimizer.state[p]["exp_avg"].array
    saved = {0: {name: value.clone() for name, value in state["state"][0].items()}}
    run(optimizer, p, [np.ones(2, np.float32)])
    optimizer.load_state_dict({"state": saved, "param_groups": state["param_groups"]})
    assert np.shares_memory(optimizer.state[p]["exp_avg"].array, memory)
    assert optimizer.state[p]["exp_avg"].tolist() == saved[0]["exp_avg"].tolist()
    assert optimizer.state[p]["step"].item() == 1


def test_groups() -> None:
    a, b, c = (nn.Parameter(nnfast.ones(1)) for _ in range(3))
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.1)
    optimizer.add_param_group({"params": [c], "weight_decay": 1.0})
    for p in (a, b, c):
        p.grad = nnfast.ones(1)
    optimizer.step()
    np.testing.assert_allclose([a.item(), b.item(), c.item()], [0.9, 0.5, 0.8], rtol=1e-6)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.5, 0.1]
    named = optim.SGD(nn.Linear(2, 1).named_parameters(), lr=0.1)
    assert len(named.param_groups[0]["params"]) == 2
    assert "Parameter Group 2" in repr(optimizer)


def test_the_learning_rate_is_an_array_that_follows_the_group() -> None:
    optimizer = optim.SGD([nn.Parameter(nnfast.ones(1))], lr=0.1)
    group = optimizer.param_groups[0]
    buffer = group.lr_buffer
    group["lr"] = 0.2
    assert buffer[0] == 0.2
    group.update(lr=0.3)
    assert buffer[0] == 0.3
    state = optimizer.state_dict()
    state["param_groups"][0]["lr"] = 0.4
    optimizer.load_state_dict(state)
    assert buffer[0] == 0.4
    assert group.lr_buffer is buffer
    assert group.setdefault("lr", 7) == 0.4
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        group["lr"] = -1


def test_parameters_without_gradients_wait() -> None:
    a, b = nn.Parameter(nnfast.ones(1)), nn.Parameter(nnfast.ones(1))
    optimizer = optim.Adam([a, b])
    a.grad = nnfast.ones(1)
    optimizer.step()
    assert b.item() == 1
    assert b not in optimizer.state
    assert set(optimizer.state_dict()["state"]) == {0}


def test_zero_grad_and_closures() -> None:
    p = nn.Parameter(nnfast.ones(2))
    optimizer = optim.SGD([p], lr=0.1)

    def closure() -> nnfast.Tensor:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with nnfast.no_grad():
        assert optimizer.step(closure).item() == 2
    np.testing.assert_allclose(p.detach().numpy(), [0.8, 0.8], rtol=1e-6)
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0, 0]
    optimizer.zero_grad()
    assert p.grad is None


def test_momentum_that_comes_late() -> None:
    """A scheduler may turn momentum on; the velocity starts from the next gradient then, without dampening."""
    p = nn.Parameter(nnfast.zeros(1))
    optimizer = optim.SGD([p], lr=1.0, dampening=0.5)
    run(optimizer, p, [np.ones(1, np.float32)] * 2)
    optimizer.param_groups[0]["momentum"] = 0.5
    assert run(optimizer, p, [np.ones(1, np.float32)] * 2).tolist() == [-2 - 1 - (0.5 * 1 + 0.5 * 1)]


def parameter() -> nn.Parameter:
    return nn.Parameter(nnfast.ones(1))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: optim.SGD([parameter()], lr=-1), ValueError, "Invalid learning rate: -1"),
        (lambda: optim.SGD([parameter()], lr=float("nan")), ValueError, "Invalid learning rate: nan"),
        (lambda: optim.SGD([parameter()], momentum=-1), ValueError, "Invalid momentum value: -1"),
        (lambda: optim.SGD([parameter()], weight_decay=-1), ValueError, "Invalid weight_decay value: -1"),
        (
            lambda: optim.SGD([parameter()], nesterov=True),
            ValueError,
            "Nesterov momentum requires a momentum and zero dampening",
        ),
        (lambda: optim.SGD([parameter()], differentiable=True), NotImplementedError, "SGD: differentiable=True"),
        (lambda: optim.Adam([parameter()], amsgrad=True), NotImplementedError, "Adam: amsgrad=True is not supported"),
        (lambda: optim.AdamW([parameter()], amsgrad=True), NotImplementedError, "AdamW: amsgrad=True"),
        (lambda: optim.Adam([parameter()], eps=-1), ValueError, "Invalid epsilon value: -1"),
        (lambda: optim.Adam([parameter()], betas=(0.9, 1.0)), ValueError, "Invalid beta parameter at index 1: 1.0"),
        (lambda: optim.Adam([parameter()], lr=nnfast.tensor(0.1)), NotImplementedError, "lr is a Tensor"),
        (lambda: optim.Adagrad([parameter()], lr_decay=-1), ValueError, "Invalid lr_decay value: -1"),
        (lambda: optim.Adagrad([parameter()], initial_accumulator_value=-1), ValueError, "initial_accumulator_value"),
        (lambda: optim.RMSprop([parameter()], alpha=-1), ValueError, "Invalid alpha value: -1"),
        (lambda: optim.RMSprop([parameter()], momentum=-1), ValueError, "Invalid momentum value: -1"),
        (lambda: optim.Adadelta([parameter()], rho=2), ValueError, "Invalid rho value: 2"),
        (lambda: optim.SGD([]), ValueError, "optimizer got an empty parameter list"),
        (lambda: optim.SGD(parameter()), TypeError, "should be an iterable of Tensors or dicts, but got Tensor"),
        (lambda: optim.SGD([3]), TypeError, "one of the params is int"),
        (lambda: optim.SGD([parameter() * 2]), ValueError, "can't optimize a non-leaf Tensor"),
        (lambda: optim.SGD([{"params": {parameter()}}]), TypeError, "ordered collections"),
        (lambda: optim.SGD([parameter()] * 1).add_param_group([3]), TypeError, "param_group must be a dict"),
        (lambda: optim.LBFGS, AttributeError, "nnfast.optim has no 'LBFGS'"),
    ],
)
def test_errors(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()  # type: ignore[operator]


def test_duplicates_are_errors() -> None:
    p = parameter()
    with pytest.raises(ValueError, match="duplicate parameters"):
        optim.SGD([p, p])
    with pytest.raises(ValueError, match="more than one parameter group"):
        optim.SGD([p]).add_param_group({"params": p})


def test_state_dict_errors() -> None:
    p = parameter()
    optimizer = optim.Adam([p])
    group = {"params": [0], "lr": 0.1}
    full = {"step": 1, "exp_avg": np.ones(1, np.float32), "exp_avg_sq": np.ones(1, np.float32)}
    for state, groups, message in (
        ({}, [group, group], "different number of parameter groups"),
        ({}, [{"params": [0, 1]}], "doesn't match the size of optimizer's group"),
        ({0: {**full, "max_exp_avg_sq": np.ones(1)}}, [group], "parameter 0 has .*max_exp_avg_sq.*, expected"),
        ({0: {"step": 1}}, [group], "parameter 0 has step, expected exp_avg"),
        ({0: {**full, "exp_avg": np.ones(2, np.float32)}}, [group], r"exp_avg has shape \[2\], expected \[1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        assert optimizer.param_groups[0]["lr"] == 1e-3
    optimizer.load_state_dict({"state": {"0": full}, "param_groups": [group]})
    assert optimizer.state[p]["step"].item() == 1
