# Declarations of fusion.h.
cdef extern from "fusion.h" nogil:
    enum: RELU, RELU6
