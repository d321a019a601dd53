"""The reference backend: every operation in plain NumPy, written to be read. It says what the operations mean.

A function takes an operation's arrays (inputs, updates, outputs) and attributes in the order of the declaration in
``ops.py``, writes its outputs and updates in place and returns None. What holds for all of them:

- Images are channels-last, ``(N, H, W, C)``, and weights ``(K, R, S, CG)``; pairs are ``(height, width)``.
- float32 and float64 are taken, all of an operation's ``float`` arrays alike, and results have the same type. Sums over
  many elements are taken in float64 and rounded once; matrix products are left to BLAS in the arrays' own type, whose
  last bits may depend on its number of threads.
- An optional array that is absent has length 0. Switches (``ceil_mode``, ``mean``, ``maximize``, ...) are 0 or 1.
- Inputs are only read. The outputs of elementwise operations may be the same memory as an input.
- Arguments have been validated: shapes agree, class labels are in range, sizes are not negative.
"""
