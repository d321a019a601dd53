"""`nnfast.functional` under PyTorch's name, so that ``import nnfast.nn.functional as F`` works."""

from nnfast.functional import *  # noqa: F403 - the same names, whatever they are
from nnfast.functional import __all__, __getattr__  # noqa: F401
