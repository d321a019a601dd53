# Declarations of blocking.h, and what the kernels take from blocking.py as it is.
from ...blocking import BLOCK as _BLOCK, PACKED as _PACKED

cdef extern from "blocking.h" nogil:
    enum: PANEL

cdef int64_t BLOCK = _BLOCK, PACKED = _PACKED
