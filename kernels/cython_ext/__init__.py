"""The Cython backend: kernels compiled ahead of time."""
