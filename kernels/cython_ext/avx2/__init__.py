"""The kernels of this backend, compiled with AVX2, FMA and BMI2; see `kernels/instruction_sets.py`."""
