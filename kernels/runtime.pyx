# cython: language_level=3, boundscheck=False, wraparound=False
"""The executor: the only place in the project that makes threads.

A plan is a list of nodes; a node is a kernel, its argument block and a number of tasks. All nodes run inside one
parallel region: workers take tasks from a node's counter until none is left, and go on to the next node when all of its
tasks have ended. They wait for tasks, not for each other as at a barrier: a worker that the system has put aside while
it held no task keeps nobody waiting. The GIL is released once for the whole list. Which worker runs a task never shows
in the result.

Workers flush denormal numbers to zero, for a denormal costs a hundred times a normal number, and the caller's
floating-point state is as it was afterwards. After `fork` a child runs on one thread and never enters OpenMP, whose
threads did not survive. Any number of Python threads may run plans at the same time. Without OpenMP at build time,
tasks run one after the other.
"""
import os

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

cdef extern from *:
    """
    #include <stdint.h>
    #ifdef _OPENMP
    #include <omp.h>
    #include <sched.h>
    #endif
    #if defined(__x86_64__) || defined(_M_X64)
    #include <xmmintrin.h>
    #endif

    typedef void (*kernel_t)(const int64_t *args, int64_t begin, int64_t end);
    typedef struct {
        kernel_t kernel;
        const int64_t *args;   /* worker t reads the block at args + t * stride, where its own scratch is named */
        int64_t stride;
        int64_t tasks;
    } node_t;
    typedef struct {   /* each counter on two cache lines of its own, for prefetchers fetch pairs */
        int64_t next; char next_line[120];
        int64_t ended; char ended_line[120];
    } counter_t;

    #if defined(__x86_64__) || defined(_M_X64)
    static inline uint64_t flush_denormals(void) {
        uint64_t before = _mm_getcsr();
        _mm_setcsr((unsigned)before | 0x8040);   /* flush to zero, denormals are zero */
        return before;
    }
    static inline void restore_state(uint64_t before) {
        /* Keep the exception flags that the kernels raised out of the caller's state: NumPy would report them. */
        _mm_setcsr((unsigned)before);
    }
    #elif defined(__aarch64__)
    static inline uint64_t flush_denormals(void) {
        uint64_t before;
        __asm__ volatile("mrs %0, fpcr" : "=r"(before));
        __asm__ volatile("msr fpcr, %0" : : "r"(before | (1ULL << 24)));
        return before;
    }
    static inline void restore_state(uint64_t before) { __asm__ volatile("msr fpcr, %0" : : "r"(before)); }
    #else
    static inline uint64_t flush_denormals(void) { return 0; }
    static inline void restore_state(uint64_t before) { (void)before; }
    #endif

    static void run_worker(const node_t *node, counter_t *counter, int64_t worker, int64_t threads) {
        const int64_t *args = node->args + worker * node->stride;
        /* Take several tasks at a time where there are very many, so that the counter is never the bottleneck. */
        int64_t grain = node->tasks / (threads * 64);
        if (grain < 1) grain = 1;
        for (;;) {
            int64_t begin = __atomic_fetch_add(&counter->next, grain, __ATOMIC_RELAXED);
            if (begin >= node->tasks) break;
            int64_t end = begin + grain < node->tasks ? begin + grain : node->tasks;
            node->kernel(args, begin, end);
            __atomic_fetch_add(&counter->ended, end - begin, __ATOMIC_ACQ_REL);
        }
    }

    #ifdef _OPENMP
    static void wait_for_tasks(const node_t *node, counter_t *counter) {
        for (int64_t spins = 1; __atomic_load_n(&counter->ended, __ATOMIC_ACQUIRE) < node->tasks; spins++) {
            if (spins % 2048 == 0) sched_yield();   /* the task's worker may need this core */
    #if defined(__x86_64__)
            _mm_pause();
    #endif
        }
    }
    #endif

    static void run_serial(const node_t *nodes, int64_t count) {
        uint64_t state = flush_denormals();
        for (int64_t i = 0; i < count; i++)
            if (nodes[i].tasks > 0) nodes[i].kernel(nodes[i].args, 0, nodes[i].tasks);
        restore_state(state);
    }

    static void run_parallel(const node_t *nodes, int64_t count, counter_t *counters, int64_t threads) {
    #ifdef _OPENMP
        #pragma omp parallel num_threads((int)threads)
        {
            uint64_t state = flush_denormals();
            int64_t worker = omp_get_thread_num();
            for (int64_t i = 0; i < count; i++) {
                run_worker(&nodes[i], &counters[i], worker, threads);
                wait_for_tasks(&nodes[i], &counters[i]);
            }
            restore_state(state);
        }
    #else
        (void)counters; (void)threads;
        run_serial(nodes, count);
    #endif
    }

    #ifdef _OPENMP
    #define NNFAST_OPENMP 1
    #else
    #define NNFAST_OPENMP 0
    #endif
    """
    ctypedef struct node_t:
        int64_t tasks
    ctypedef struct counter_t:
        pass
    void run_serial(const node_t *nodes, int64_t count) noexcept nogil
    void run_parallel(const node_t *nodes, int64_t count, counter_t *counters, int64_t threads) noexcept nogil
    bint NNFAST_OPENMP

openmp = bool(NNFAST_OPENMP)
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
    """How many of `threads` a plan started here would use: one in a forked child or without OpenMP."""
    return 1 if forked or not NNFAST_OPENMP else threads


def run(const int64_t[:, ::1] nodes, int64_t threads):
    """Run nodes, rows of `NODE_FIELDS` numbers, on `threads` workers. The arrays they name must stay alive.

    Raises
    ------
    ValueError : rows of another length, or fewer than one thread.
    MemoryError : no memory for the task counters.
    """
    cdef int64_t count = nodes.shape[0], i
    if nodes.shape[1] != 4:
        raise ValueError(f"run: nodes have {nodes.shape[1]} fields, expected {NODE_FIELDS}")
    if threads < 1:
        raise ValueError(f"run: threads is {threads}, expected at least 1")
    if count == 0:
        return
    cdef const node_t *first = <const node_t *> &nodes[0, 0]
    cdef int64_t most = 0
    for i in range(count):
        most = max(most, nodes[i, 3])
    threads = min(threads, most)
    if threads <= 1 or forked or not NNFAST_OPENMP:
        with nogil:
            run_serial(first, count)
        return
    # Counters belong to the call, so that plans of several Python threads do not meet.
    cdef counter_t *counters = <counter_t *> calloc(count, sizeof(counter_t))
    if counters == NULL:
        raise MemoryError(f"run: no memory for the counters of {count} nodes")
    with nogil:
        run_parallel(first, count, counters, threads)
    free(counters)
