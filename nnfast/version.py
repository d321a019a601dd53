"""The version that is installed; apart, for Python takes a while to look it up."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("nnfast")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "unknown"
