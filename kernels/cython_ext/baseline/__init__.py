"""The kernels of this backend, compiled for any processor of its kind; see `kernels/instruction_sets.py`."""
