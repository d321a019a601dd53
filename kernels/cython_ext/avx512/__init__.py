"""The kernels of this backend, compiled with AVX-512 F, BW, DQ and VL; see `kernels/instruction_sets.py`."""
