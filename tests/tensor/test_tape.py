"""The tape's rules: leaves, accumulation, freeing, versions, modes."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

import nnfast
from nnfast import functional as F


def leaf(*values: float) -> nnfast.Tensor:
    return nnfast.tensor([float(value) for value in values], requires_grad=True)


def test_leaves_and_their_products() -> None:
    x = leaf(1, 2)
    y = x * 3
    assert x.is_leaf
    assert x.grad_fn is None
    assert not y.is_leaf
    assert y.requires_grad
    assert repr(y.grad_fn) == "<MulBackward0>"
    assert not y.detach().requires_grad
    assert nnfast.ones(2).is_leaf
    y.sum().backward()
    assert x.grad.tolist() == [3, 3]
    assert y.grad is None


def test_gradients_accumulate_in_place() -> None:
    x = leaf(1, 2)
    (x * 3).sum().backward()
    first = x.grad
    (x * x).sum().backward()
    assert x.grad is first
    assert x.grad.tolist() == [5, 7]
    x.grad = None
    (x + x + x).sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_a_tensor_used_in_several_places() -> None:
    x = leaf(2, 3)
    y = x * x
    z = y * x + y
    z.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 3 * np.array([4, 9]) + 2 * np.array([2, 3]))


def test_gradients_of_two_leaves_do_not_share_memory() -> None:
    a, b = leaf(1, 2), leaf(3, 4)
    (a + b).backward(nnfast.ones(2))
    a.grad.zero_()
    assert b.grad.tolist() == [1, 1]
    given = nnfast.ones(2)
    x = leaf(1, 2)
    x.backward(given)
    x.grad.zero_()
    assert given.tolist() == [1, 1]


def test_a_long_chain_needs_no_recursion() -> None:
    x = y = leaf(1)
    for _ in range(5000):
        y = y + 1
    y.backward()
    assert x.grad.tolist() == [1]


def test_the_tape_is_freed() -> None:
    x = leaf(1, 2)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        y.backward()
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [6, 12]


def test_operations_that_saved_nothing_run_again_as_in_pytorch() -> None:
    x = leaf(1, 2)
    y = (x + 1).sum()
    y.backward()
    y.backward()
    assert x.grad.tolist() == [2, 2]


def test_nothing_waits_for_the_garbage_collector() -> None:
    gc.disable()
    try:
        x = leaf(1, 2)
        y = F.relu(x * 2)
        watched = weakref.ref(y), weakref.ref(y.grad_fn)
        del y
        assert [reference() for reference in watched] == [None, None]
    finally:
        gc.enable()


def test_backward_lets_go_of_saved_tensors() -> None:
    x = leaf(1, 2)
    y = x * 2
    z = (y * y).sum()
    watched = weakref.ref(y)
    del y
    z.backward()
    assert watched() is None


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nnfast.ones(1).backward(), RuntimeError, "does not require grad and does not have a grad_fn"),
        (lambda: (leaf(1, 2) * 2).backward(), RuntimeError, "grad can be implicitly created only for scalar outputs"),
        (lambda: (leaf(1, 2) * 2).backward(nnfast.ones(3)), RuntimeError, "Mismatch in shape: grad_output"),
        (
            lambda: (leaf(1, 2) * 2).backward(nnfast.ones(2).double()),
            RuntimeError,
            "gradient is float64, expected float32",
        ),
        (lambda: leaf(1).backward(create_graph=True), NotImplementedError, "create_graph=True"),
        (lambda: nnfast.ones(1).retain_grad(), RuntimeError, "can't retain_grad"),
        (lambda: setattr(leaf(1) * 2, "requires_grad", False), RuntimeError, "leaf variables"),
        (lambda: setattr(leaf(1, 2), "grad", nnfast.ones(3)), RuntimeError, "different size"),
        (lambda: setattr(leaf(1, 2), "grad", nnfast.ones(2).double()), RuntimeError, "different type"),
        (lambda: setattr(leaf(1, 2), "grad", 3), TypeError, "expected to be a Tensor"),
        (lambda: setattr(leaf(1, 2), "data", 3), TypeError, "data is int"),
        (lambda: nnfast.arange(3).requires_grad_(), RuntimeError, "floating point dtype"),
    ],
)
def test_errors(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()  # type: ignore[operator]


def test_retain_grad() -> None:
    x = leaf(1, 2)
    y = x * 2
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.tolist() == [4, 8]


def test_a_change_of_a_saved_tensor_is_noticed() -> None:
    x, w = leaf(1, 2), leaf(3, 4)
    y = x * w
    with nnfast.no_grad():
        w.add_(1)
    with pytest.raises(
        RuntimeError, match=r"\[FloatTensor \[2\]\], saved by mul, is at version 1; expected version 0 instead"
    ):
        y.sum().backward()
    # A change of what nobody saved is no error.
    y = x + w
    with nnfast.no_grad():
        w.mul_(2)
    y.sum().backward()
    # A view's change counts for its base.
    y = (x * w).sum()
    with nnfast.no_grad():
        w.view(2, 1).zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
    # .data has a version of its own, in PyTorch too.
    y = (x * w).sum()
    w.data.add_(1)
    y.backward()


def test_an_optimizer_step_between_forward_and_backward_is_noticed() -> None:
    w = nnfast.nn.Parameter(nnfast.ones(2, 2))
    optimizer = nnfast.optim.SGD([w], lr=0.1)
    x = nnfast.ones(1, 2, requires_grad=True)
    first, second = F.linear(x, w).sum(), F.linear(x, w).sum()
    first.backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match="saved by linear, is at version 1"):
        second.backward()


def test_in_place_arithmetic_on_the_tape() -> None:
    x = leaf(1, 2)
    y = x * 1
    y += 3
    y *= x
    y.sum().backward()
    assert y.tolist() == [4, 10]
    assert x.grad.tolist() == [5, 7]
    z = nnfast.ones(2)
    z -= leaf(1, 1) * 2
    assert z.requires_grad


def test_in_place_operations_that_cannot_be_recorded() -> None:
    x = leaf(1, 2)
    for call in (
        lambda: x.add_(1),
        lambda: x.zero_(),
        lambda: x.__setitem__(0, 1.0),
        lambda: F.relu(x, inplace=True),
        lambda: x.copy_(nnfast.ones(2)),
        lambda: F.dropout(x, inplace=True),
    ):
        with pytest.raises(
            RuntimeError, match="a leaf Variable that requires grad is being used in an in-place operation"
        ):
            call()
    assert x.tolist() == [1, 2]
    y = x * 1
    view = y.view(2, 1)
    for tensor in (y, view):
        with pytest.raises(NotImplementedError, match="shares memory with a view"):
            tensor.add_(1)
    with pytest.raises(NotImplementedError, match="recording a gradient through a copy in place"):
        nnfast.ones(2).copy_(y)
    with pytest.raises(NotImplementedError, match="recording a gradient"):
        nnfast.ones(2)[0] = (x * 2)[0]
    with pytest.raises(NotImplementedError, match="fill_"):
        (x * 2).fill_(1)
    with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
        nnfast.ones(1).add_(nnfast.ones(2))
    with pytest.raises(RuntimeError, match="can't be cast"):
        nnfast.arange(2).add_(0.5)
    with pytest.raises(TypeError, match="src is int"):
        nnfast.ones(1).copy_(1)


def test_changes_in_place_without_recording() -> None:
    w = leaf(1, 2)
    with nnfast.no_grad():
        w -= 0.5
        w *= nnfast.tensor([2.0, 3.0])
        w /= 2
        w.add_(nnfast.ones(2), alpha=-0.5)
    assert w.is_leaf
    assert w.requires_grad
    np.testing.assert_allclose(w.detach().numpy(), [0, 1.75])
    x = nnfast.zeros(2, 3, 4, 5)
    x.copy_(nnfast.arange(5))
    np.testing.assert_array_equal(x.numpy(), np.broadcast_to(np.arange(5), (2, 3, 4, 5)))
    assert x.fill_(2).sum().item() == 240
    assert nnfast.arange(3).fill_(7).tolist() == [7, 7, 7]
    overlapping = nnfast.arange(4).float()
    overlapping[1:] = overlapping[:-1]
    assert overlapping.tolist() == [0, 0, 1, 2]
    with pytest.raises(RuntimeError, match="copy_: The expanded size"):
        nnfast.zeros(2).copy_(nnfast.ones(3))


@pytest.mark.parametrize("activation", [F.relu, F.relu6, F.leaky_relu])
def test_in_place_activations(activation: object) -> None:
    values = [-1.0, 0.5, 7.0]
    x = leaf(*values)
    expected = activation(x)  # type: ignore[operator]
    expected.sum().backward()
    z = leaf(*values)
    y = z + 0
    result = activation(y, inplace=True)  # type: ignore[operator]
    assert result is y
    assert y.tolist() == expected.tolist()
    y.sum().backward()
    assert z.grad.tolist() == x.grad.tolist()


def test_in_place_relu_spoils_what_needs_its_input() -> None:
    x = leaf(1, -2)
    y = x * 1
    z = y * y
    F.relu(y, inplace=True)
    with pytest.raises(RuntimeError, match="saved by mul, is at version 1"):
        z.sum().backward()
    with pytest.raises(RuntimeError, match="negative_slope"):
        F.leaky_relu(x * 1, -0.5, inplace=True)


def test_modes() -> None:
    x = leaf(1, 2)
    with nnfast.no_grad():
        assert not (x * 2).requires_grad
        with nnfast.enable_grad():
            assert (x * 2).requires_grad
        assert not nnfast.is_grad_enabled()
    with nnfast.inference_mode():
        assert not (x * 2).requires_grad
    with nnfast.inference_mode(False):
        assert (x * 2).requires_grad

    @nnfast.no_grad()
    def silent() -> bool:
        return nnfast.is_grad_enabled()

    @nnfast.no_grad
    def silent_too() -> bool:
        return nnfast.is_grad_enabled()

    assert not silent()
    assert not silent_too()
    assert nnfast.is_grad_enabled()
    with nnfast.set_grad_enabled(False):
        assert not nnfast.is_grad_enabled()
    assert nnfast.is_grad_enabled()
    nnfast.set_grad_enabled(False)
    assert not nnfast.is_grad_enabled()
    nnfast.set_grad_enabled(True)
    decorated = nnfast.set_grad_enabled(False)(lambda: nnfast.is_grad_enabled())
    assert nnfast.is_grad_enabled()
    assert not decorated()
    with pytest.raises(ZeroDivisionError), nnfast.no_grad():
        _ = 1 / 0
    assert nnfast.is_grad_enabled()


def test_modes_belong_to_a_thread() -> None:
    seen = []
    with nnfast.no_grad():
        thread = threading.Thread(target=lambda: seen.append(nnfast.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_gradient_rules_record_nothing_and_skip_what_nobody_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    from nnfast.functional import conv

    ran = []
    run = conv.apply

    def watched(name: str, *args: object, **operands: object) -> object:
        ran.append(name)
        return run(name, *args, **operands)

    monkeypatch.setattr(conv, "apply", watched)
    x, w = nnfast.ones(1, 2, 4, 4), nnfast.ones(3, 2, 3, 3)
    for wanted, rule in ((w, "conv2d_backward_weight"), (x, "conv2d_backward_data")):
        wanted.requires_grad_()
        ran.clear()
        F.conv2d(x, w).sum().backward()
        assert ran == ["conv2d_forward", rule]
        assert not wanted.grad.requires_grad
        wanted.requires_grad_(False)


def test_detach_and_data() -> None:
    x = leaf(1, 2)
    y = x * 2
    assert np.shares_memory(y.detach().array, y.array)
    y.detach_()
    assert y.is_leaf
    assert not y.requires_grad
    x.data = nnfast.ones(2) * 5
    assert x.tolist() == [5, 5]
    assert x.is_leaf
    x.data.fill_(3)
    assert x.tolist() == [3, 3]


def inputs_of(*shapes: tuple[int, ...]) -> list[nnfast.Tensor]:
    return [(nnfast.rand(*shape) + 0.5).requires_grad_() for shape in shapes]


LABELS = nnfast.tensor([0, 1])
SAVED_INPUTS = [
    ("mul", lambda a, b: a * b, [(2, 3), (2, 3)], (0, 1)),
    ("div", lambda a, b: a / b, [(2, 3), (2, 3)], (1,)),
    ("pow", lambda a: a**3, [(2, 3)], (0,)),
    ("log", lambda a: a.log(), [(2, 3)], (0,)),
    ("mm", lambda a, b: a @ b, [(2, 3), (3, 2)], (0, 1)),
    ("leaky_relu", F.leaky_relu, [(2, 3)], (0,)),
    ("linear", F.linear, [(2, 3), (4, 3), (4,)], (0, 1)),
    ("conv2d", F.conv2d, [(1, 2, 4, 4), (3, 2, 3, 3), (3,)], (0, 1)),
    ("batch_norm", lambda x, w, b: F.batch_norm(x, None, None, w, b, True), [(4, 3), (3,), (3,)], (0, 1)),
    (
        "batch_norm",
        lambda x, m, v, w: F.batch_norm(x, m.detach(), v.detach(), w),
        [(4, 3), (3,), (3,), (3,)],
        (0, 1, 2, 3),
    ),
    ("cross_entropy", lambda x: F.cross_entropy(x, LABELS), [(2, 3)], (0,)),
]


@pytest.mark.parametrize(("name", "function", "shapes", "saved"), SAVED_INPUTS)
def test_every_operation_notices_changes_of_what_it_saved(
    name: str, function: object, shapes: list, saved: tuple
) -> None:
    for position in range(len(shapes)):
        inputs = inputs_of(*shapes)
        y = function(*inputs).sum()  # type: ignore[operator]
        with nnfast.no_grad():
            inputs[position].add_(1)
        if position in saved:
            with pytest.raises(RuntimeError, match=f"saved by {name}, is at version 1"):
                y.backward()
        else:
            y.backward()


@pytest.mark.parametrize(
    "function",
    [F.relu, F.relu6, F.sigmoid, F.tanh, F.exp, lambda x: F.softmax(x, 1), lambda x: F.log_softmax(x, 1)],
)
def test_activations_notice_changes_of_their_output(function: object) -> None:
    (x,) = inputs_of((2, 3))
    y = function(x)  # type: ignore[operator]
    loss = y.sum()
    with nnfast.no_grad():
        y.mul_(2)
    with pytest.raises(RuntimeError, match="is at version 1; expected version 0"):
        loss.backward()
