"""Files: safetensors, nested state in safetensors, and writing that never leaves half a file."""

from nnfast.io.atomic import write_atomically
from nnfast.io.safetensors import load_file, save_file
from nnfast.io.state import load, save

__all__ = ["load", "load_file", "save", "save_file", "write_atomically"]
