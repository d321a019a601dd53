# cython: language_level=3, boundscheck=False, wraparound=False
"""The executor: the only place in the project that makes threads.

A plan is a list of nodes; a node is a kernel, its argument block and a number of tasks. The caller and its workers take
tasks from a node's counter until none is left, and go on to the next node when all of its tasks have ended. The GIL is
released once for the whole list. Which thread runs a task never shows in the result.

A node is a row of `NODE_FIELDS` numbers of 64 bits:

======  ================================================================================================
kernel  its address, called as ``kernel(args, begin, end)`` for tasks ``begin`` to ``end``; 0: a guard
args    the argument block's address; of a guard, the address of one float64
stride  numbers from one worker's argument block to the next worker's; 0: one block for all
tasks   how many; a guard has none
flags   `JOINED` or 0
======  ================================================================================================

``JOINED``: the node after this one does not depend on it, and may start before it has ended. Joined nodes in a row and
the first node behind them without the flag are a group, with a barrier at its end alone. A worker runs one task at a
time, so the nodes of a group may share scratch, but no other memory that one of them writes.

A guard is the last node of its group, whatever its flags. When the group has ended, the plan stops there if the guard's
number is infinite or NaN: nothing behind it runs. Nodes behind it may write the number.

Kernels flush denormal numbers to zero, for a denormal costs a hundred times a normal number; the caller's
floating-point state is as it was afterwards. After `fork` a child runs on one thread, for the workers did not survive.
Any number of Python threads may run plans at the same time. `pool.h` holds the threads themselves; a build without them
(Windows, or ``NNFAST_NO_THREADS`` set) runs tasks one after the other.
"""
import os

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

cdef extern from "pool.h":
    ctypedef struct node_t:
        pass
    ctypedef struct counter_t:
        pass
    ctypedef struct plan_t:
        const node_t *nodes
        int64_t count
        int64_t threads
        counter_t *counters
        double *times
    counter_t *place_counters(void *memory) noexcept nogil
    int64_t most_tasks(const plan_t *plan) noexcept nogil
    int64_t run_serial(const plan_t *plan) noexcept nogil
    int64_t run_parallel(const plan_t *plan) noexcept nogil
    int64_t C_NODE_FIELDS "NODE_FIELDS"
    int64_t C_JOINED "JOINED"
    bint NNFAST_THREADED

cdef extern from "processor.h" nogil:
    bint processor_has_avx2()
    bint processor_has_avx512()

threaded = bool(NNFAST_THREADED)
"""Whether this build can use more than one thread."""

processor_has = tuple(name for name, there in (("avx2", processor_has_avx2()), ("avx512", processor_has_avx512())) if there)
"""The instruction sets beyond the baseline that this processor can run; see `instruction_sets.py`."""

NODE_FIELDS = C_NODE_FIELDS
"""Fields of a node: kernel, args, stride, tasks, flags."""

JOINED = C_JOINED
"""Flag of a node that the next one does not depend on."""

cdef bint forked = False


def _after_fork_in_child():
    global forked
    forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


cpdef int64_t usable_threads(int64_t threads) noexcept:
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


cpdef int64_t counter_bytes(int64_t count) noexcept:
    """How much memory `run` needs for the counters of `count` nodes: one counter more, to begin at a cache line."""
    return (count + 1) * <int64_t> sizeof(counter_t)


def run(const int64_t[:, ::1] nodes, int64_t threads, double[:, ::1] times=None, unsigned char[::1] counters=None):
    """Run nodes, rows of `NODE_FIELDS` numbers, on `threads` threads. The arrays they name must stay alive.

    Parameters
    ----------
    nodes : int64 (nodes, NODE_FIELDS).
    threads : how many at most, the caller among them.
    times : float64 (nodes, 2), gets the begin and end of each node that ran, in seconds on the clock of
        ``time.perf_counter``. `JOINED` is ignored then, so that a node's time is its own.
    counters : uint8, at least `counter_bytes` of the nodes: memory for whoever runs a plan many times. Nothing in it
        outlives a run, and any number of plans may share it. None allocates it.

    Returns
    -------
    The number of the guard that stopped the plan, or the number of nodes if all ran.

    Raises
    ------
    ValueError : arrays of another shape or type, or fewer than one thread.
    MemoryError : no memory for the task counters.
    """
    cdef int64_t count = nodes.shape[0], ran = -1
    cdef plan_t plan
    cdef void *own = NULL
    if nodes.shape[1] != C_NODE_FIELDS:
        raise ValueError(f"run: nodes have {nodes.shape[1]} fields, expected {NODE_FIELDS}")
    if threads < 1:
        raise ValueError(f"run: threads is {threads}, expected at least 1")
    if times is not None and (times.shape[0] != count or times.shape[1] != 2):
        raise ValueError(f"run: times is {times.shape[0]} x {times.shape[1]}, expected {count} x 2")
    if counters is not None and counters.shape[0] < counter_bytes(count):
        raise ValueError(f"run: counters has {counters.shape[0]} bytes, expected {counter_bytes(count)} at least")
    if count == 0:
        return 0
    plan.nodes = <const node_t *> &nodes[0, 0]
    plan.count = count
    plan.times = NULL if times is None else &times[0, 0]
    plan.threads = min(usable_threads(threads), most_tasks(&plan))
    if plan.threads > 1:
        if counters is None:
            own = malloc(counter_bytes(count))
            if own == NULL:
                raise MemoryError(f"run: no memory for the counters of {count} nodes")
        plan.counters = place_counters(own if counters is None else &counters[0])
    with nogil:
        if plan.threads > 1:
            ran = run_parallel(&plan)
        if ran < 0:
            ran = run_serial(&plan)
    free(own)
    return ran
