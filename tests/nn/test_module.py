"""Module: registration, walking, modes, hooks, state."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest

import nnfast
from nnfast import nn


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.register_buffer("count", nnfast.tensor(5))
        self.register_buffer("hidden", nnfast.ones(1), persistent=False)

    def forward(self, x: nnfast.Tensor) -> nnfast.Tensor:
        return self.fc(x)


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Inner()
        self.second = nn.Sequential(nn.ReLU(), nn.Linear(2, 2, bias=False))
        self.scale = nn.Parameter(nnfast.ones(1))
        self.tied = self.first

    def forward(self, x: nnfast.Tensor) -> nnfast.Tensor:
        return self.second(self.first(x)) * self.scale


def test_names() -> None:
    model = Outer()
    assert [name for name, _ in model.named_parameters()] == [
        "scale",
        "first.fc.weight",
        "first.fc.bias",
        "second.1.weight",
    ]
    assert len(list(model.parameters())) == 4
    assert [name for name, _ in model.named_buffers()] == ["first.count", "first.hidden"]
    assert len(list(model.buffers())) == 2
    assert [name for name, _ in model.named_children()] == ["first", "second"]
    assert [name for name, _ in model.named_modules()] == ["", "first", "first.fc", "second", "second.0", "second.1"]
    assert len(list(model.modules())) == 6
    assert [name for name, _ in model.named_parameters(prefix="m", recurse=False)] == ["m.scale"]
    assert model.get_submodule("second.1") is model.second[1]
    assert model.get_parameter("first.fc.bias") is model.first.fc.bias
    with pytest.raises(AttributeError, match=r"has no module 'second\.7'"):
        model.get_submodule("second.7")
    with pytest.raises(AttributeError, match=r"no parameter 'first\.x'"):
        model.get_parameter("first.x")
    assert "scale" in dir(model)


def test_state_dict_keys_are_pytorchs() -> None:
    assert list(Outer().state_dict()) == [
        "scale",
        "first.count",
        "first.fc.weight",
        "first.fc.bias",
        "second.1.weight",
        "tied.count",
        "tied.fc.weight",
        "tied.fc.bias",
    ]
    assert list(nn.BatchNorm2d(2).state_dict()) == [
        "weight",
        "bias",
        "running_mean",
        "running_var",
        "num_batches_tracked",
    ]


def test_attributes() -> None:
    model = Outer()
    model.scale = None
    assert "scale" not in model.state_dict()
    model.scale = nn.Parameter(nnfast.zeros(1))
    assert model.scale.item() == 0
    model.plain = 3
    model.plain = nn.ReLU()
    assert isinstance(model._modules["plain"], nn.ReLU)
    del model.plain
    assert not hasattr(model, "plain")
    model.first.count = nnfast.tensor(6)
    assert model.first.state_dict()["count"].item() == 6
    with pytest.raises(AttributeError, match="'Outer' object has no attribute 'nothing'"):
        _ = model.nothing
    with pytest.raises(TypeError, match="cannot assign 'Tensor' as parameter 'scale'"):
        model.scale = nnfast.ones(1)
    with pytest.raises(TypeError, match="cannot assign 'int' as child module 'first'"):
        model.first = 3
    with pytest.raises(TypeError, match="cannot assign 'int' as buffer 'count'"):
        model.first.count = 3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.register_parameter("a.b", None), KeyError, "t contain"),
        (lambda m: m.register_parameter("", None), KeyError, "t be empty"),
        (lambda m: m.register_parameter("first", None), KeyError, "attribute 'first' already exists"),
        (
            lambda m: m.register_parameter("a", nnfast.ones(1)),
            TypeError,
            "cannot assign 'Tensor' object to parameter 'a'",
        ),
        (lambda m: m.register_buffer("a", 3), TypeError, "cannot assign 'int' object to buffer 'a'"),
        (lambda m: m.register_buffer("forward", None), KeyError, "already exists"),
        (lambda m: m.add_module("a", 3), TypeError, "int is not a Module subclass"),
        (lambda m: m.add_module(3, None), TypeError, "module name should be a string"),
        (lambda m: m.train(1), ValueError, "training mode is expected to be boolean"),
        (lambda m: m.to(nnfast.int64), TypeError, "only accepts floating point dtypes"),
        (lambda m: m.to("cuda"), NotImplementedError, "to: device is 'cuda'"),
        (lambda m: m.cuda(), NotImplementedError, "cpu"),
        (lambda m: nn.Module()(1), NotImplementedError, 'missing the required "forward" function'),
        (lambda m: nn.Parameter(3), TypeError, "Parameter: data is int"),
        (lambda m: nn.LSTM, AttributeError, "nnfast.nn has no 'LSTM'"),
    ],
)
def test_errors(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(Outer())  # type: ignore[operator]


def test_assignment_before_init_is_an_error() -> None:
    class Early(nn.Module):
        def __init__(self) -> None:
            self.fc = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match=r"cannot assign module before Module.__init__\(\) call"):
        Early()


def test_modes_and_types() -> None:
    model = Outer()
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    model.train()
    assert all(module.training for module in model.modules())
    assert not any(p.requires_grad for p in model.requires_grad_(False).parameters())
    parameter = model.scale
    assert model.double() is model
    assert model.scale is parameter
    assert parameter.dtype == nnfast.float64
    assert model.first.count.dtype == nnfast.int64
    assert model.float().scale.dtype == nnfast.float32
    assert model.to("cpu") is model.cpu() is model
    seen = []
    assert model.apply(lambda module: seen.append(type(module).__name__)) is model
    assert seen[-1] == "Outer"
    assert seen[:2] == ["Linear", "Inner"]


def test_zero_grad() -> None:
    model = nn.Linear(2, 1)
    model(nnfast.ones(1, 2)).sum().backward()
    model.zero_grad(set_to_none=False)
    assert model.weight.grad.tolist() == [[0, 0]]
    model.zero_grad()
    assert model.weight.grad is None


def test_hooks() -> None:
    model, seen = nn.ReLU(), []
    handles = [
        model.register_forward_pre_hook(lambda module, args: seen.append(("before", args[0].item()))),
        model.register_forward_pre_hook(lambda module, args: args[0] + 1),
        model.register_forward_hook(lambda module, args, output: seen.append(("after", output.item()))),
        model.register_forward_hook(lambda module, args, output: output * 10),
    ]
    assert model(nnfast.tensor(2.0)).item() == 30
    assert seen == [("before", 2), ("after", 3)]
    for handle in handles:
        handle.remove()
        handle.remove()
    assert model(nnfast.tensor(2.0)).item() == 2
    with model.register_forward_hook(lambda module, args, output: output * 10):
        assert model(nnfast.tensor(2.0)).item() == 20
    assert model(nnfast.tensor(2.0)).item() == 2


def test_state_dict_round_trip() -> None:
    first, second = Outer(), Outer()
    assert repr(second.load_state_dict(first.state_dict())) == "<All keys matched successfully>"
    x = nnfast.randn(4, 3)
    np.testing.assert_array_equal(first(x).detach().numpy(), second(x).detach().numpy())
    second.scale.data.fill_(3)
    assert first.scale.item() == 1
    arrays = {name: value.numpy() for name, value in first.state_dict().items()}
    second.load_state_dict(arrays)
    assert second.scale.item() == 1
    assert second.state_dict(prefix="m.", keep_vars=True)["m.scale"] is second.scale
    # state_dict is on the module's own memory, and loading keeps that memory.
    state = second.state_dict()
    second.load_state_dict({name: value * 2 for name, value in state.items()})
    assert state["scale"].item() == 2


def test_load_state_dict_errors() -> None:
    model = nn.Linear(2, 3)
    before = model.weight.detach().clone()
    state = {"weight": nnfast.zeros(3, 2), "bias": nnfast.zeros(2), "extra": nnfast.zeros(1)}
    with pytest.raises(RuntimeError) as caught:
        model.load_state_dict(state)
    assert str(caught.value) == (
        'Error(s) in loading state_dict for Linear:\n\tUnexpected key(s) in state_dict: "extra". \n\t'
        "size mismatch for bias: copying a param with shape nnfast.Size([2]) from checkpoint, the shape in current "
        "model is nnfast.Size([3])."
    )
    assert model.weight.tolist() == before.tolist()
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "weight", "bias"\. '):
        model.load_state_dict({})
    found = model.load_state_dict({"weight": nnfast.zeros(3, 2), "extra": nnfast.zeros(1)}, strict=False)
    assert found.missing_keys == ["bias"]
    assert found.unexpected_keys == ["extra"]
    assert model.weight.tolist() == [[0, 0]] * 3
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        model.load_state_dict({"weight": nnfast.zeros(2, 3)}, strict=False)
    with pytest.raises(TypeError, match="Expected state_dict to be dict-like"):
        model.load_state_dict([1])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="weight is list, expected a Tensor or an array"):
        model.load_state_dict({"weight": [1], "bias": [1]})
    with pytest.raises(NotImplementedError, match="assign=True"):
        model.load_state_dict({}, assign=True)


def test_copies() -> None:
    model = Outer()
    for made in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert made.scale is not model.scale
        assert isinstance(made.scale, nn.Parameter)
        assert made.tied is made.first
        x = nnfast.randn(2, 3)
        np.testing.assert_array_equal(made(x).detach().numpy(), model(x).detach().numpy())


def test_text_is_pytorchs() -> None:
    assert repr(Outer()) == (
        "Outer(\n  (first): Inner(\n    (fc): Linear(in_features=3, out_features=2, bias=True)\n  )\n"
        "  (second): Sequential(\n    (0): ReLU()\n    (1): Linear(in_features=2, out_features=2, bias=False)\n  )\n"
        "  (tied): Inner(\n    (fc): Linear(in_features=3, out_features=2, bias=True)\n  )\n)"
    )
    assert repr(nn.Parameter(nnfast.ones(1))) == "Parameter containing:\ntensor([1.], requires_grad=True)"


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (
            nn.Conv2d(1, 2, 3, padding=1, dilation=2, bias=False),
            "Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(2, 2), bias=False)",
        ),
        (nn.Conv2d(2, 2, (3, 1), 2, groups=2), "Conv2d(2, 2, kernel_size=(3, 1), stride=(2, 2), groups=2)"),
        (nn.BatchNorm2d(4), "BatchNorm2d(4, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)"),
        (nn.MaxPool2d(2), "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)"),
        (nn.AvgPool2d(2, 1), "AvgPool2d(kernel_size=2, stride=1, padding=0)"),
        (nn.AdaptiveAvgPool2d((1, None)), "AdaptiveAvgPool2d(output_size=(1, None))"),
        (nn.ReLU(inplace=True), "ReLU(inplace=True)"),
        (nn.ReLU6(), "ReLU6()"),
        (nn.LeakyReLU(0.1, True), "LeakyReLU(negative_slope=0.1, inplace=True)"),
        (nn.Softmax(1), "Softmax(dim=1)"),
        (nn.LogSoftmax(-1), "LogSoftmax(dim=-1)"),
        (nn.Dropout(0.2), "Dropout(p=0.2, inplace=False)"),
        (nn.Flatten(), "Flatten(start_dim=1, end_dim=-1)"),
        (nn.Unflatten(1, (2, 3)), "Unflatten(dim=1, unflattened_size=(2, 3))"),
        (nn.Unfold(2), "Unfold(kernel_size=2, dilation=1, padding=0, stride=1)"),
        (nn.Fold(4, 2), "Fold(output_size=4, kernel_size=2, dilation=1, padding=0, stride=1)"),
        (nn.CrossEntropyLoss(), "CrossEntropyLoss()"),
        (nn.Identity(3), "Identity()"),
        (nn.Sigmoid(), "Sigmoid()"),
        (nn.Tanh(), "Tanh()"),
    ],
)
def test_text_of_layers_is_pytorchs(module: nn.Module, text: str) -> None:
    assert repr(module) == text


def test_sequential() -> None:
    model = nn.Sequential(OrderedDict(a=nn.ReLU(), b=nn.Flatten(), c=nn.Identity()))
    assert [name for name, _ in model.named_children()] == ["a", "b", "c"]
    assert isinstance(model[-2], nn.Flatten)
    assert len(model[1:]) == 2
    assert len(list(model)) == 3
    model[0] = nn.Tanh()
    assert isinstance(model.a, nn.Tanh)
    assert [name for name, _ in model.named_children()] == ["a", "b", "c"]
    plain = nn.Sequential(nn.ReLU()).append(nn.Identity())
    assert list(plain._modules) == ["0", "1"]
    with pytest.raises(IndexError, match="index 2 is out of range"):
        plain[2]
    assert nn.Sequential()(nnfast.ones(1)).item() == 1


def test_module_list() -> None:
    modules = nn.ModuleList([nn.ReLU()])
    modules.append(nn.Tanh()).extend([nn.Linear(1, 1)])
    assert len(modules) == 3
    assert isinstance(modules[-1], nn.Linear)
    assert len(modules[:2]) == 2
    modules[0] = nn.Sigmoid()
    assert [type(module).__name__ for module in modules] == ["Sigmoid", "Tanh", "Linear"]
    assert list(modules.state_dict()) == ["2.weight", "2.bias"]
