# cython: language_level=3, boundscheck=False, wraparound=False
"""The executor: the only place in the project that makes threads.

A plan is a list of nodes; a node is a kernel, its argument block and a number of tasks. The caller and its workers take
tasks from a node's counter until none is left, and go on to the next node when all of its tasks have ended. The GIL is
released once for the whole list. Which thread runs a task never shows in the result.

Kernels flush denormal numbers to zero, for a denormal costs a hundred times a normal number; the caller's
floating-point state is as it was afterwards. After `fork` a child runs on one thread, for the workers did not survive.
Any number of Python threads may run plans at the same time. `pool.h` holds the threads themselves; a build without them
(Windows, or ``NNFAST_NO_THREADS`` set) runs tasks one after the other.
"""
import os

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

cdef extern from "pool.h":
    ctypedef struct node_t:
        int64_t tasks
    ctypedef struct counter_t:
        pass
    void run_serial(const node_t *nodes, int64_t count) noexcept nogil
    bint run_parallel(const node_t *nodes, int64_t count, counter_t *counters, int64_t threads) noexcept nogil
    bint NNFAST_THREADED

threaded = bool(NNFAST_THREADED)
"""Whether this build can use more than one thread."""

NODE_FIELDS = 4
"""Fields of a node: kernel address, argument block address, block length per worker (0: one for all), tasks."""

cdef bint forked = False


def _after_fork_in_child():
    global forked
    forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def usable_threads(int64_t threads):
    """How many of `threads` a plan started here would use: one in a forked child or in a build without threads."""
    return 1 if forked or not NNFAST_THREADED else threads


def addresses(arrays):
    """The addresses of C-contiguous arrays, as a list."""
    cdef Py_buffer view
    found = []
    for array in arrays:
        PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
        found.append(<int64_t> view.buf)
        PyBuffer_Release(&view)
    return found


def run(const int64_t[:, ::1] nodes, int64_t threads):
    """Run nodes, rows of `NODE_FIELDS` numbers, on `threads` threads. The arrays they name must stay alive.

    Raises
    ------
    ValueError : rows of another length, or fewer than one thread.
    MemoryError : no memory for the task counters.
    """
    cdef int64_t count = nodes.shape[0], i, most = 0
    if nodes.shape[1] != 4:
        raise ValueError(f"run: nodes have {nodes.shape[1]} fields, expected {NODE_FIELDS}")
    if threads < 1:
        raise ValueError(f"run: threads is {threads}, expected at least 1")
    if count == 0:
        return
    cdef const node_t *first = <const node_t *> &nodes[0, 0]
    for i in range(count):
        most = max(most, nodes[i, 3])
    threads = min(usable_threads(threads), most)
    if threads <= 1:
        with nogil:
            run_serial(first, count)
        return
    cdef counter_t *counters = <counter_t *> calloc(count, sizeof(counter_t))
    if counters == NULL:
        raise MemoryError(f"run: no memory for the counters of {count} nodes")
    with nogil:
        if not run_parallel(first, count, counters, threads):
            run_serial(first, count)
    free(counters)
