"""What a plan cannot repeat is refused at the user's line, and nothing has happened then."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from steps import batch, bits, perceptron, plain

import nnfast
from nnfast import functional as F
from nnfast import nn, optim
from nnfast.compiler.capture import CaptureError
from nnfast.optim import lr_scheduler
from nnfast.random import get_rng_state

pytestmark = pytest.mark.usefixtures("backend")

SWITCHES = nnfast.zeros(4, dtype=nnfast.bool)
INDEX = nnfast.tensor([0, 2])
BUFFER = nnfast.zeros(6, 3)
OUTSIDE = np.ones(3, np.float32)

REFUSED: dict[str, Callable[[Any, Any, Any], Any]] = {
    "item": lambda x, loss, y: loss.item(),
    "data": lambda x, loss, y: loss.data.item(),
    "detach": lambda x, loss, y: x.detach().tolist(),
    "numpy": lambda x, loss, y: x.numpy(),
    "array": lambda x, loss, y: np.asarray(x),
    "bool": lambda x, loss, y: bool(loss),
    "float": lambda x, loss, y: float(loss),
    "int": lambda x, loss, y: int(loss),
    "format": lambda x, loss, y: f"{loss:.3f}",
    "print": lambda x, loss, y: str(loss),
    "comparison": lambda x, loss, y: loss > 1,
    "equality": lambda x, loss, y: y == 1,
    "max": lambda x, loss, y: x.max(),
    "argmax": lambda x, loss, y: x.argmax(1),
    "any": lambda x, loss, y: y.any(),
    "contains": lambda x, loss, y: 3 in y,
    "integers": lambda x, loss, y: y + 1,
    "sum of integers": lambda x, loss, y: y.sum(),
    "type": lambda x, loss, y: y.float(),
    "index by tensor": lambda x, loss, y: x[y],
    "index of computed": lambda x, loss, y: x[INDEX],
    "fill with tensor": lambda x, loss, y: x.clone().fill_(loss),
    "tensor of": lambda x, loss, y: nnfast.tensor([loss, 1.0]),
    "random values": lambda x, loss, y: nnfast.rand(3).numpy(),
    "values made inside": lambda x, loss, y: nnfast.zeros(3).tolist(),
    "switches": lambda x, loss, y: SWITCHES.copy_(SWITCHES),
    "scatter": lambda x, loss, y: BUFFER.__setitem__(INDEX, 1.0),
    "data assigned": lambda x, loss, y: setattr(BUFFER, "data", x * 2),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_depends_on_values_is_refused_at_its_line(name: str) -> None:
    layer = nn.Linear(5, 3)
    optimizer = optim.Adam(layer.parameters())
    use = REFUSED[name]

    @plain
    def step(x: Any, y: Any) -> Any:
        loss = F.cross_entropy(layer(x), y)
        loss.backward()
        optimizer.step()
        return use(x, loss, y)

    state = nnfast.from_numpy(BUFFER.numpy().copy())
    before = bits([layer, BUFFER, SWITCHES]), len(optimizer.state), get_rng_state()
    with pytest.raises(CaptureError) as error:
        step(*batch(0))
    lines = [frame for frame in traceback.extract_tb(error.value.__traceback__) if frame.filename == __file__]
    assert lines[-1].lineno == use.__code__.co_firstlineno
    assert "run eagerly" in str(error.value)
    assert before == (bits([layer, BUFFER, SWITCHES]), len(optimizer.state), get_rng_state())
    assert BUFFER.tolist() == state.tolist()
    step.function(*batch(0))
    assert layer.weight.grad is not None
    assert np.isfinite(layer.weight.grad.numpy()).all()


def test_counters_are_not_refused_but_changed_in_every_run() -> None:
    counter = nnfast.zeros(3)
    count = plain(lambda: counter.add_(1))
    for _ in range(3):
        count()
    assert counter.tolist() == [3.0] * 3


def test_a_failed_capture_leaves_everything_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    failing = True

    def train(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        x.requires_grad_()
        model[0].bias.requires_grad_(not model[0].bias.requires_grad)
        loss = F.cross_entropy(model(x + nnfast.randn(6, 5)), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
        return loss.item() if failing else loss

    nnfast.manual_seed(3)
    step = plain(train)
    for round_ in range(3):
        if round_ == 1:
            train(*batch(0))  # gradients and states exist, and momentum is about to be turned on
            optimizer.param_groups[0]["momentum"] = 0.9
        x, y = batch(round_)
        held = [p.grad for p in model.parameters()]
        versions = [p.storage.version for p in model.parameters()]
        before = bits([model, optimizer, x, scheduler.state_dict()]), get_rng_state()
        with pytest.raises(CaptureError):
            step(x, y)
        assert before == (bits([model, optimizer, x, scheduler.state_dict()]), get_rng_state())
        assert all(p.grad is gradient for p, gradient in zip(model.parameters(), held, strict=True))
        assert versions == [p.storage.version for p in model.parameters()]
    failing = False
    assert np.isfinite(step(*batch(0)).item())


def test_errors_of_the_function_itself_pass_through() -> None:
    layer = nn.Linear(5, 3)

    @plain
    def step(x: Any) -> Any:
        layer(x).sum().backward()
        return x @ x

    for _ in range(2):
        with pytest.raises(RuntimeError, match="shape"):
            step(batch(0)[0])
        assert layer.weight.grad is None


@pytest.mark.parametrize("make", ["argument", "outside", "rearranged"])
def test_wrong_labels_are_found_before_anything_changes(make: str) -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    labels = nnfast.zeros(6, dtype=nnfast.int64)

    @plain
    def step(x: Any, y: Any) -> Any:
        target = {"argument": y, "outside": labels, "rearranged": nnfast.cat([y[3:], y[:3]])}[make]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x + nnfast.rand(6, 5)), target)
        loss.backward()
        optimizer.step()
        return loss

    x, y = batch(0)
    wrong = labels if make == "outside" else y
    values = wrong.tolist()
    for call in range(3):
        if call:
            step(x, y)
        before = bits([model, optimizer]), get_rng_state()
        wrong[4] = 3
        with pytest.raises(ValueError, match="holds the label 3, expected 0 to 2"):
            step(x, y)
        assert before == (bits([model, optimizer]), get_rng_state())
        wrong[4] = values[4]


def test_tensors_that_escape_say_so_when_they_are_used() -> None:
    model = perceptron()
    kept: dict[str, Any] = {}

    @plain
    def step(x: Any) -> Any:
        hidden = model(x)
        kept.update(hidden=hidden, loss=hidden.square().sum(), view=hidden.detach()[0], data=hidden.data)
        return hidden

    step(batch(0)[0])
    uses: list[Callable[[], Any]] = [
        lambda: kept["loss"].item(), lambda: kept["hidden"] * 2, lambda: kept["view"].tolist(),
        lambda: str(kept["data"]), lambda: kept["loss"].backward(),
        lambda: plain(lambda: kept["hidden"] * 2)(), lambda: kept["data"].add_(1),
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(CaptureError, match="Return it from the function"):
            use()


def test_what_was_computed_outside_is_refused() -> None:
    layer = nn.Linear(5, 5)
    hidden = layer(batch(0)[0])
    for function, args in ((lambda: hidden * 2, ()), (lambda x: x * 2, (hidden,))):
        with pytest.raises(CaptureError, match="on the tape"):
            plain(function)(*args)
    with nnfast.no_grad():
        assert plain(lambda x: x * 2)(hidden).tolist() == (hidden * 2).tolist()


def test_arguments_that_share_memory_with_what_changes_are_refused() -> None:
    layer = nn.Linear(5, 3)
    change = plain(lambda x, y: (x + layer.weight.data.mul_(2)[0], y.add_(1)))
    memory = nnfast.zeros(10)
    change(memory[:5], memory[5:])
    for x, y in ((layer.weight.data[0], memory), (memory[:5], memory[2:])):
        before = bits([layer, memory])
        with pytest.raises(CaptureError, match="pass a clone"):
            plain(change.function)(x, y)
        assert before == bits([layer, memory])


def test_state_that_a_run_would_lose_is_refused() -> None:
    norm = nn.BatchNorm1d(5)
    optimizer = optim.SGD(norm.parameters(), lr=0.1)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer)

    labels = nnfast.zeros(6, dtype=nnfast.int64)

    def twice() -> None:
        optimizer.step()
        scheduler.step(1.0)
        optimizer.step()

    def read_and_changed() -> None:
        norm.running_mean.tolist()
        norm.running_mean.add_(1)

    refused: dict[str, Callable[[], Any]] = {
        "buffer 'running_mean' is replaced": lambda: setattr(norm, "running_mean", norm.running_mean * 0.5),
        "setting 'lr'": lambda: optimizer.param_groups[0].update(lr=1.0),
        "second step": twice,
        "float": lambda: scheduler.step(norm(batch(0)[0]).sum()),
        "changed after": read_and_changed,
        "cannot be checked": lambda: F.cross_entropy(BUFFER, labels.copy_(labels[:1].expand(6))),
        "from_numpy": lambda: nnfast.from_numpy(OUTSIDE).add_(norm.weight.detach()[:3]),
    }
    for message, function in refused.items():
        before = bits([norm, optimizer])
        with pytest.raises(CaptureError, match=message if message != "float" else "needs the values"):
            plain(function)()
        assert before == bits([norm, optimizer])
