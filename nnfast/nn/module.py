"""Module: parameters, buffers and other modules under names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from nnfast.dtypes import float32, float64
from nnfast.functional import conversion_target
from nnfast.grad_mode import no_grad
from nnfast.tensor import Tensor
from nnfast.tracing import Members, recorder, structure_changed

from .parameter import Parameter


class IncompatibleKeys(NamedTuple):
    """What `Module.load_state_dict` found missing and superfluous."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class RemovableHandle:
    """Takes a hook off again."""

    def __init__(self, hooks: dict[int, Any], key: int) -> None:
        self._hooks, self._key = hooks, key

    def remove(self) -> None:
        """Take the hook off; a second time does nothing."""
        self._hooks.pop(self._key, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def _add_hook(hooks: dict[int, Any], hook: Any) -> RemovableHandle:
    key = max(hooks, default=-1) + 1
    hooks[key] = hook
    return RemovableHandle(hooks, key)


_ABSENT = object()


def _check_kept(name: str, value: Tensor | None) -> None:
    """See that a compiled function does not keep what it computed as a buffer, which would change in its first run."""
    capture = recorder()
    if capture is not None and value is not None and value.storage.capture is not None:
        capture.refuse(
            f"the buffer {name!r} is replaced by a tensor that the function computed, which only its plan knows; "
            "change the buffer in place, e.g. by copy_()"
        )


class Module:
    """Base of all layers and models.

    Assign parameters and modules as attributes in ``__init__`` (after ``super().__init__()``) and give ``forward``.

    Examples
    --------
    >>> from nnfast import nn
    >>> class Twice(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.layer = nn.Linear(2, 2)
    ...     def forward(self, x):
    ...         return self.layer(self.layer(x))
    >>> [name for name, _ in Twice().named_parameters()]
    ['layer.weight', 'layer.bias']
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _tables = ("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks")
    """Attributes that are dictionaries of what the module consists of."""

    def __init__(self) -> None:
        for table in self._tables:
            object.__setattr__(self, table, Members())
        object.__setattr__(self, "_transient_buffers", set())
        object.__setattr__(self, "training", True)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the module's output; subclasses give this."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        capture = recorder()
        if capture is None:
            return self._call(args, kwargs)
        with capture.calls_module(self):
            return self._call(args, kwargs)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for hook in tuple(self._forward_pre_hooks.values()):
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        result = self.forward(*args, **kwargs)
        for hook in tuple(self._forward_hooks.values()):
            changed = hook(self, args, result)
            if changed is not None:
                result = changed
        return result

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, args)`` before every forward pass; what it returns, if anything, is the arguments."""
        return _add_hook(self._forward_pre_hooks, hook)

    def register_forward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after every forward pass; what it returns, if anything, is the output."""
        return _add_hook(self._forward_hooks, hook)

    # ------------------------------------------------------------ attributes

    def __setattr__(self, name: str, value: Any) -> None:
        tables = [self.__dict__.get(table) for table in ("_parameters", "_modules", "_buffers")]
        if None in tables:
            if isinstance(value, (Parameter, Module)):
                kind = "parameters" if isinstance(value, Parameter) else "module"
                raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
            object.__setattr__(self, name, value)
            return
        parameters, modules, buffers = tables
        assert parameters is not None
        assert modules is not None
        assert buffers is not None
        if isinstance(value, Parameter):
            self._forget(name, modules, buffers)
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._forget(name, parameters, buffers)
            modules[name] = value
        elif name in parameters or name in modules:
            kind, table = ("parameter", parameters) if name in parameters else ("child module", modules)
            if value is not None:
                raise TypeError(
                    f"cannot assign '{type(value).__name__}' as {kind} '{name}' "
                    f"(nnfast.nn.{'Parameter' if kind == 'parameter' else 'Module'} or None expected)"
                )
            table[name] = None
        elif name in buffers:
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"cannot assign '{type(value).__name__}' as buffer '{name}' (nnfast.Tensor or None expected)"
                )
            _check_kept(name, value)
            buffers[name] = value
        elif self.__dict__.get(name, _ABSENT) is not value:
            capture = recorder()
            if capture is not None and isinstance(value, bool):
                capture.sets_mode(self, name)
            object.__setattr__(self, name, value)
            structure_changed()

    def _forget(self, name: str, *others: dict[str, Any]) -> None:
        """Make room for a name; what replaces its like keeps the place in the order."""
        for table in (self.__dict__, *others):
            table.pop(name, None)

    def __getattr__(self, name: str) -> Any:
        capture = recorder()
        if capture is not None:
            capture.visits(self)
        for table in ("_parameters", "_buffers", "_modules"):
            found = self.__dict__.get(table, {})
            if name in found:
                return found[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __delattr__(self, name: str) -> None:
        for table in (self._parameters, self._buffers, self._modules):
            if name in table:
                del table[name]  # type: ignore[attr-defined]
                return
        object.__delattr__(self, name)
        structure_changed()

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def _check_name(self, kind: str, name: str, table: Mapping[str, Any]) -> None:
        if "_parameters" not in self.__dict__:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {type(name).__name__}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if hasattr(self, name) and name not in table:
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under a name; None for one that is absent."""
        self._check_name("parameter", name, self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{type(param).__name__}' object to parameter '{name}' "
                "(nnfast.nn.Parameter or None required)"
            )
        if param is not None and param.grad_fn is not None:
            raise ValueError(f"Cannot assign non-leaf Tensor to parameter '{name}'.")
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is part of the module's state but no parameter, such as running statistics.

        Parameters
        ----------
        name : the attribute's name.
        tensor : the buffer; None for one that is absent.
        persistent : whether it belongs into `state_dict`.
        """
        self._check_name("buffer", name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{type(tensor).__name__}' object to buffer '{name}' (nnfast.Tensor or None required)"
            )
        _check_kept(name, tensor)
        self._buffers[name] = tensor
        (self._transient_buffers.discard if persistent else self._transient_buffers.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a module under a name."""
        self._check_name("module", name, self._modules)
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        self._modules[name] = module

    register_module = add_module

    # ------------------------------------------------------------ walking

    def _named_members(
        self, table: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for module_prefix, module in modules:
            for name, value in getattr(module, table).items():
                if value is None or (remove_duplicate and id(value) in seen):
                    continue
                seen.add(id(value))
                yield (f"{module_prefix}.{name}" if module_prefix else name), value

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Every parameter once."""
        for _, value in self.named_parameters(recurse=recurse):
            yield value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Every parameter with its name."""
        yield from self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Every buffer once."""
        for _, value in self.named_buffers(recurse=recurse):
            yield value

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Every buffer with its name."""
        yield from self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def children(self) -> Iterator[Module]:
        """The modules directly in this one."""
        for _, module in self.named_children():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly in this one, with their names."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def modules(self) -> Iterator[Module]:
        """This module and all modules in it."""
        for _, module in self.named_modules():
            yield module

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all modules in it, with their names."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def get_submodule(self, target: str) -> Module:
        """The module called `target`, such as ``layer1.0.conv``."""
        module: Any = self
        for part in target.split(".") if target else []:
            module = module._modules.get(part)
            if module is None:
                raise AttributeError(f"{type(self).__name__} has no module {target!r}: there is no {part!r}")
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter called `target`, such as ``layer1.0.conv.weight``."""
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path)._parameters.get(name)
        if found is None:
            raise AttributeError(f"{type(self).__name__} has no parameter {target!r}")
        return found

    def apply(self, fn: Callable[[Module], Any]) -> Module:
        """Call `fn` with every module, innermost first."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # ------------------------------------------------------------ modes and types

    def train(self, mode: bool = True) -> Module:
        """Set training mode here and in all modules within."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Module:
        """Set evaluation mode here and in all modules within."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Set `requires_grad` of every parameter."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Take the gradients of all parameters away, or set them to 0."""
        for parameter in self.parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad.detach_().zero_()

    def to(
        self, *args: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False, memory_format: Any = None
    ) -> Module:
        """Convert floating parameters and buffers to another type; devices other than the CPU are refused."""
        target = conversion_target(args, dtype, device)
        if target is None:
            return self
        if target.kind != "f":
            raise TypeError(f"nn.Module.to only accepts floating point dtypes, but got desired dtype={target}")
        with no_grad():
            for value in (*self.parameters(), *self.buffers()):
                if value.is_floating_point():
                    value.data = value.to(target)
                    value.grad = None if value.grad is None else value.grad.to(target)
        return self

    def float(self) -> Module:
        """Convert floating parameters and buffers to float32."""
        return self.to(float32)

    def double(self) -> Module:
        """Convert floating parameters and buffers to float64; only the reference backend computes with it."""
        return self.to(float64)

    def cpu(self) -> Module:
        """The module itself."""
        return self

    def cuda(self, device: Any = None) -> Module:
        """Not supported."""
        raise NotImplementedError("cuda: nnfast runs on 'cpu' only")

    # ------------------------------------------------------------ state

    def state_dict(self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> dict[str, Any]:
        """Every parameter and persistent buffer by name; on the module's own memory.

        Parameters
        ----------
        destination : a dictionary to add to.
        prefix : goes before every name.
        keep_vars : give the parameters themselves, not tensors without gradient.

        Examples
        --------
        >>> from nnfast import nn
        >>> list(nn.Linear(2, 3).state_dict())
        ['weight', 'bias']
        """
        found: Any = OrderedDict() if destination is None else destination
        for name, value in self._own_state():
            found[prefix + name] = value if keep_vars else value.detach()
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=found, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        return found

    def _own_state(self) -> Iterator[tuple[str, Tensor]]:
        for name, value in (*self._parameters.items(), *self._buffers.items()):
            if value is not None and name not in self._transient_buffers:
                yield name, value

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy parameters and buffers from a dictionary that `state_dict` gave.

        Parameters
        ----------
        state_dict : tensors (or arrays) by name.
        strict : whether missing and superfluous names are errors.
        assign : not supported.

        Returns
        -------
        IncompatibleKeys
            The missing and superfluous names.

        Raises
        ------
        RuntimeError : names (if `strict`) or shapes that do not fit; nothing is changed then.
        TypeError : not a dictionary.
        NotImplementedError : ``assign=True``.

        Examples
        --------
        >>> from nnfast import nn
        >>> nn.Linear(2, 3).load_state_dict(nn.Linear(2, 3).state_dict())
        <All keys matched successfully>
        """
        from .loading import load_state_dict

        if assign:
            raise NotImplementedError("load_state_dict: assign=True is not supported; values are copied")
        return IncompatibleKeys(*load_state_dict(self, state_dict, strict))

    # ------------------------------------------------------------ text

    def extra_repr(self) -> str:
        """What stands in brackets after the module's name."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr().split("\n") if self.extra_repr() else []
        children = [f"({name}): " + repr(module).replace("\n", "\n  ") for name, module in self._modules.items()]
        if len(extra) == 1 and not children:
            return f"{self._get_name()}({extra[0]})"
        if not extra and not children:
            return f"{self._get_name()}()"
        return f"{self._get_name()}(\n  " + "\n  ".join(extra + children) + "\n)"
