# cython: language_level=3, boundscheck=False, wraparound=False
"""The executor: the only place in the project that makes threads.

A plan is a list of nodes; a node is a kernel, its argument block and a number of tasks. The caller and its workers take
tasks of a node, each first those of a range of its own, until none is left, and go on to the next node when all of its
tasks have ended. The GIL is released once for the whole list. Which thread runs a task never shows in the result.

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
from libc.string cimport memcpy

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
    int64_t LINES
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
    return [address(array) for array in arrays]


cpdef int64_t counter_bytes(int64_t count) noexcept:
    """How much memory `run` needs for the counters of `count` nodes, which begin at a cache line."""
    return count * <int64_t> sizeof(counter_t) + LINES


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
    cdef int64_t count = nodes.shape[0], ran
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
        ran = execute(&plan)
    free(own)
    return ran


cdef int64_t execute(const plan_t *plan) noexcept nogil:
    """Run a plan on its threads, or on this one where there are none to be had."""
    cdef int64_t ran = run_parallel(plan) if plan.threads > 1 else -1
    return run_serial(plan) if ran < 0 else ran


cdef class Launch:
    """One operation over its memory, as it is run outside of plans: once, or as often as is wanted.

    Every worker has an argument block, which differ in the addresses of scratch. All memory lives as long as this.

    Parameters
    ----------
    nodes : int64 (stages, NODE_FIELDS), where the argument blocks' address and stride are filled in here.
    block : int64 (fields,), the argument block without addresses.
    arrays : what its first fields point to, C-contiguous.
    temporaries : int64 (workers, temporaries), where what the next fields point to stands in `memory`. All workers have
        the same in one row.
    memory : an array, or None if `temporaries` are addresses.
    threads : how many at most.
    owners : what `temporaries` belong to, if not to `memory`.

    Raises
    ------
    ValueError : numbers that do not fit together; an array that is not C-contiguous.
    MemoryError : no memory for the argument blocks.
    """

    cdef plan_t plan
    cdef void *own
    cdef object alive

    def __cinit__(self, nodes, block, arrays, temporaries, memory, int64_t threads, owners=None):
        cdef int64_t stages = len(nodes), fields = len(block), count = len(arrays)
        cdef int64_t workers = temporaries.shape[0], own = temporaries.shape[1]
        cdef int64_t base = 0 if memory is None else address(memory), counters = counter_bytes(stages), i, worker
        cdef const int64_t *placed = numbers(temporaries, workers * own)
        cdef int64_t *rows
        cdef int64_t *blocks
        if fields < count + own:
            raise ValueError(f"run: an argument block of {fields} fields, expected room for {count + own} addresses")
        if 1 < workers < threads:
            raise ValueError(f"run: {threads} threads, expected at most {workers}, which have scratch of their own")
        self.alive = arrays, memory, owners
        self.own = malloc(counters + (stages * C_NODE_FIELDS + workers * fields) * sizeof(int64_t))
        if self.own == NULL:
            raise MemoryError(f"run: no memory for {workers} argument blocks of {fields} fields")
        rows = <int64_t *> (<char *> self.own + counters)
        blocks = rows + stages * C_NODE_FIELDS
        memcpy(rows, numbers(nodes, stages * C_NODE_FIELDS), stages * C_NODE_FIELDS * sizeof(int64_t))
        for i in range(stages):
            rows[i * C_NODE_FIELDS + 1] = <int64_t> blocks
            rows[i * C_NODE_FIELDS + 2] = fields if workers > 1 else 0
        memcpy(blocks, numbers(block, fields), fields * sizeof(int64_t))
        for i in range(count):
            blocks[i] = address(arrays[i])
        for worker in range(workers):
            if worker > 0:
                memcpy(blocks + worker * fields, blocks, fields * sizeof(int64_t))
            for i in range(own):
                blocks[worker * fields + count + i] = base + placed[worker * own + i]
        self.plan.nodes = <const node_t *> rows
        self.plan.count = stages
        self.plan.times = NULL
        self.plan.counters = place_counters(self.own)
        self.plan.threads = min(threads, most_tasks(&self.plan))

    def __dealloc__(self):
        free(self.own)

    def run(self):
        """Run it now; not on two threads at a time."""
        self.plan.threads = usable_threads(self.plan.threads)
        with nogil:
            execute(&self.plan)


cdef int64_t address(array) except? 0:
    """The address of a C-contiguous array."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    PyBuffer_Release(&view)
    return <int64_t> view.buf


cdef const int64_t *numbers(array, int64_t count) except? NULL:
    """The numbers of a C-contiguous array of int64 that somebody else keeps alive.

    Raises
    ------
    ValueError : there are not `count` of them.
    """
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    PyBuffer_Release(&view)
    if view.len != count * <int64_t> sizeof(int64_t):
        raise ValueError(f"run: {view.len} bytes, expected {count} numbers of 64 bits")
    return <const int64_t *> view.buf
