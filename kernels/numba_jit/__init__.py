"""The Numba backend: kernels compiled on first use and kept on disk; see `compiler.py`."""
