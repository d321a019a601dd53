"""Schedules against sequences that PyTorch 2.13 gave, SGD with lr=0.5 and momentum=0.9."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import nnfast
from nnfast import nn, optim
from nnfast.optim import lr_scheduler as schedules

Make = Callable[[optim.Optimizer], Any]

SEQUENCES: dict[str, tuple[Make, list[float]]] = {
    "StepLR": (lambda o: schedules.StepLR(o, 2, 0.5), [0.5, 0.5, 0.25, 0.25, 0.125, 0.125]),
    "MultiStepLR": (lambda o: schedules.MultiStepLR(o, [1, 3, 3], 0.1), [0.5, 0.05, 0.05, 0.0005, 0.0005, 0.0005]),
    "ExponentialLR": (lambda o: schedules.ExponentialLR(o, 0.9), [0.5, 0.45, 0.405, 0.3645]),
    "LinearLR": (lambda o: schedules.LinearLR(o, 0.25, 1.0, 4), [0.125, 0.21875, 0.3125, 0.40625, 0.5, 0.5, 0.5]),
    "CosineAnnealingLR": (
        lambda o: schedules.CosineAnnealingLR(o, 4, 0.1),
        [0.5, 0.4414213562, 0.3, 0.1585786438, 0.1, 0.1585786438, 0.3, 0.4414213562, 0.5, 0.4414213562, 0.3],
    ),
    "OneCycleLR": (
        lambda o: schedules.OneCycleLR(o, 1.0, total_steps=8),
        [0.04, 0.8192751049, 0.9719417774, 0.8117456539, 0.5559840141, 0.2830609982, 0.07664159383, 4e-06],
    ),
    "OneCycleLR_three_phases": (
        lambda o: schedules.OneCycleLR(
            o, 1.0, epochs=2, steps_per_epoch=5, three_phase=True, anneal_strategy="linear", pct_start=0.4
        ),
        [0.04, 0.36, 0.68, 1.0, 0.68, 0.36, 0.04, 0.026668, 0.013336, 4e-06],
    ),
    "LambdaLR": (lambda o: schedules.LambdaLR(o, lambda step: 1 / (1 + step)), [0.5, 0.25, 0.1666666667, 0.125]),
}
MOMENTA = {
    "OneCycleLR": [0.95, 0.8688255099, 0.8528058335, 0.8688255099, 0.8944017762, 0.921694187, 0.94233621, 0.95],
    "OneCycleLR_three_phases": [
        0.95,
        0.9166666667,
        0.8833333333,
        0.85,
        0.8833333333,
        0.9166666667,
        0.95,
        0.95,
        0.95,
        0.95,
    ],
}


def optimizer(kind: type[optim.Optimizer] = optim.SGD, **settings: Any) -> optim.Optimizer:
    settings = settings or ({"momentum": 0.9} if kind is optim.SGD else {})
    return kind([nn.Parameter(nnfast.ones(1))], lr=0.5, **settings)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequence(name: str) -> None:
    make, expected = SEQUENCES[name]
    target = optimizer()
    schedule = make(target)
    rates, momenta = [target.param_groups[0]["lr"]], [target.param_groups[0]["momentum"]]
    for _ in expected[1:]:
        schedule.step()
        rates.append(target.param_groups[0]["lr"])
        momenta.append(target.param_groups[0]["momentum"])
        assert schedule.get_last_lr() == [rates[-1]]
    assert rates == pytest.approx(expected, rel=1e-8)
    assert momenta == pytest.approx(MOMENTA.get(name, [0.9] * len(expected)), rel=1e-8)


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_saved_schedule_continues(name: str) -> None:
    make, expected = SEQUENCES[name]
    target = optimizer()
    schedule = make(target)
    schedule.step()
    saved, settings = json.loads(json.dumps(schedule.state_dict())), target.state_dict()
    other = optimizer()
    resumed = make(other)
    other.load_state_dict(settings)
    resumed.load_state_dict(saved)
    rates = [other.param_groups[0]["lr"]]
    for _ in expected[2:]:
        resumed.step()
        rates.append(other.param_groups[0]["lr"])
    assert rates == pytest.approx(expected[1:], rel=1e-8)


def test_milestones_of_pytorchs_state() -> None:
    schedule = schedules.MultiStepLR(optimizer(), [5])
    schedule.load_state_dict({**schedule.state_dict(), "milestones": Counter({1: 2})})
    schedule.step()
    assert schedule.get_last_lr() == pytest.approx([0.005])


@pytest.mark.parametrize(
    ("settings", "metrics", "expected"),
    [
        (
            {"factor": 0.5, "patience": 1, "cooldown": 1, "min_lr": 0.1},
            [3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1],
            [0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125, 0.125, 0.1, 0.1, 0.1],
        ),
        (
            {"mode": "max", "factor": 0.1, "patience": 0, "threshold": 0.5, "threshold_mode": "abs"},
            [1, 1.4, 1.6, 1.6],
            [0.5, 0.05, 0.05, 0.005],
        ),
    ],
)
def test_plateau(settings: dict, metrics: list[float], expected: list[float]) -> None:
    target = optimizer()
    schedule = schedules.ReduceLROnPlateau(target, **settings)
    rates = []
    for metric in metrics:
        schedule.step(nnfast.tensor(float(metric)))
        rates.append(target.param_groups[0]["lr"])
    assert rates == pytest.approx(expected, rel=1e-8)
    resumed = schedules.ReduceLROnPlateau(target, **settings)
    resumed.load_state_dict(schedule.state_dict())
    assert resumed.best == schedule.best
    assert resumed.last_epoch == len(metrics)


@pytest.mark.parametrize(
    ("mode", "threshold_mode", "same", "better"),
    [("min", "rel", 0.95, 0.85), ("min", "abs", 0.95, 0.85), ("max", "rel", 1.05, 1.15), ("max", "abs", 1.05, 1.15)],
)
def test_what_counts_as_improvement(mode: str, threshold_mode: str, same: float, better: float) -> None:
    schedule = schedules.ReduceLROnPlateau(optimizer(), mode, threshold=0.1, threshold_mode=threshold_mode)
    for metric, bad in ((1.0, 0), (same, 1), (better, 0)):
        schedule.step(metric)
        assert schedule.num_bad_epochs == bad


def test_one_cycle_moves_adams_first_beta() -> None:
    target = optimizer(optim.Adam)
    schedule = schedules.OneCycleLR(target, 1.0, total_steps=4)
    betas = [target.param_groups[0]["betas"]]
    for _ in range(3):
        schedule.step()
        betas.append(target.param_groups[0]["betas"])
    assert [beta for beta, _ in betas] == pytest.approx([0.95, 0.8688255099, 0.9216941870, 0.95], rel=1e-8)
    assert {second for _, second in betas} == {0.999}
    schedule.step()
    with pytest.raises(ValueError, match=r"Tried to step 5 times\. The specified number of total steps is 4"):
        schedule.step()


def test_every_group_has_its_rate() -> None:
    target = optim.SGD([{"params": nn.Parameter(nnfast.ones(1)), "lr": rate} for rate in (1.0, 2.0)])
    schedule = schedules.LambdaLR(target, [lambda step: 1.0, lambda step: 0.5**step])
    schedule.step()
    assert schedule.get_last_lr() == [1.0, 1.0]
    one_cycle = schedules.OneCycleLR(target, [1.0, 5.0], total_steps=10, cycle_momentum=False)
    assert one_cycle.get_last_lr() == pytest.approx([0.04, 0.2])


def test_resuming_with_last_epoch() -> None:
    target = optimizer()
    with pytest.raises(KeyError, match="'initial_lr' is not specified in param_groups\\[0\\]"):
        schedules.StepLR(target, 2, last_epoch=3)
    target.param_groups[0]["initial_lr"] = 1.0
    schedule = schedules.LambdaLR(target, lambda step: step, last_epoch=3)
    assert schedule.get_last_lr() == [4.0]
    assert schedule.last_epoch == 4


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: schedules.StepLR(3, 2), TypeError, "int is not an Optimizer"),
        (lambda: schedules.LambdaLR(optimizer(), [abs, abs]), ValueError, "Expected 1 lr_lambdas, but got 2"),
        (lambda: schedules.LinearLR(optimizer(), 0), ValueError, "Starting multiplicative factor"),
        (lambda: schedules.LinearLR(optimizer(), 1, 1.5), ValueError, "Ending multiplicative factor"),
        (lambda: schedules.OneCycleLR(optimizer(), 1.0), ValueError, "You must define either total_steps"),
        (
            lambda: schedules.OneCycleLR(optimizer(), 1.0, total_steps=0),
            ValueError,
            "Expected positive integer total_steps",
        ),
        (
            lambda: schedules.OneCycleLR(optimizer(), 1.0, epochs=1.5, steps_per_epoch=1),
            ValueError,
            "positive integer epochs",
        ),
        (lambda: schedules.OneCycleLR(optimizer(), 1.0, 9, pct_start=2.0), ValueError, "between 0 and 1 pct_start"),
        (
            lambda: schedules.OneCycleLR(optimizer(), 1.0, 9, anneal_strategy="x"),
            ValueError,
            "anneal_strategy must be one of",
        ),
        (lambda: schedules.OneCycleLR(optimizer(), [1.0, 2.0], 9), ValueError, "max_lr must have the same length"),
        (lambda: schedules.OneCycleLR(optimizer(optim.Adagrad), 1.0, 9), ValueError, "must support momentum or beta1"),
        (lambda: schedules.ReduceLROnPlateau(optimizer(), factor=1.0), ValueError, "Factor should be < 1.0"),
        (lambda: schedules.ReduceLROnPlateau(optimizer(), "best"), ValueError, "mode best is unknown"),
        (
            lambda: schedules.ReduceLROnPlateau(optimizer(), threshold_mode="x"),
            ValueError,
            "threshold mode x is unknown",
        ),
        (lambda: schedules.LRScheduler(optimizer()), NotImplementedError, "has no get_lr"),
    ],
)
def test_errors(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()  # type: ignore[operator]
