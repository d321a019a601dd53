"""Ready-made networks for small images; ``create(name)`` builds one."""

from nnfast.models.registry import create, default_shape, names

__all__ = ["create", "default_shape", "names"]
