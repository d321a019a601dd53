/* The executor's threads: the caller runs a plan's nodes, workers help while they can.
 *
 * The caller never waits for a worker that has not begun to help: on a busy machine, one that the system has put aside
 * costs nothing (an OpenMP region waits for all of its threads at both ends, which was seen to cost 15 ms for a task of
 * 50 microseconds). Workers wait for work by spinning for a moment, then asleep. One plan has the workers at a time; a
 * second Python thread that runs a plan meanwhile runs it alone.
 */
#ifndef NNFAST_POOL_H
#define NNFAST_POOL_H

#include <stdint.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#endif

typedef void (*kernel_t)(const int64_t *args, int64_t begin, int64_t end);

typedef struct {
    kernel_t kernel;
    const int64_t *args; /* worker t reads the block at args + t * stride, where its own scratch is named */
    int64_t stride;
    int64_t tasks;
} node_t;

typedef struct { /* each counter on two cache lines of its own, for prefetchers fetch pairs */
    int64_t next;
    char next_line[120];
    int64_t ended;
    char ended_line[120];
} counter_t;

/* ------------------------------------------------------------ floating-point state */

#if defined(__x86_64__) || defined(_M_X64)
static inline uint64_t flush_denormals(void) {
    uint64_t before = _mm_getcsr();
    _mm_setcsr((unsigned)before | 0x8040); /* flush to zero, denormals are zero */
    return before;
}
/* Exception flags that kernels raised are dropped too: NumPy would report them as its own. */
static inline void restore_state(uint64_t before) { _mm_setcsr((unsigned)before); }
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

/* ------------------------------------------------------------ one thread */

static void run_serial(const node_t *nodes, int64_t count) {
    uint64_t state = flush_denormals();
    for (int64_t i = 0; i < count; i++)
        if (nodes[i].tasks > 0) nodes[i].kernel(nodes[i].args, 0, nodes[i].tasks);
    restore_state(state);
}

#if defined(NNFAST_NO_THREADS) || defined(_WIN32)

#define NNFAST_THREADED 0

static int run_parallel(const node_t *nodes, int64_t count, counter_t *counters, int64_t threads) {
    (void)nodes, (void)count, (void)counters, (void)threads;
    return 0;
}

#else

#define NNFAST_THREADED 1

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#define SPINS 4096 /* rounds before a waiting worker sleeps: about 100 microseconds, what Python needs between two calls */

static struct {
    pthread_mutex_t lock; /* guards sleeping and the making of workers */
    pthread_cond_t wake;
    int64_t workers; /* threads made so far, numbered from 1; the caller is 0 */
    int64_t sleeping;
    int64_t taken;  /* 1 while a plan has the workers */
    int64_t plans;  /* counts the plans that were opened: workers wait for it to change */
    int64_t inside; /* OPEN while workers may enter the plan, plus the number of those inside */
    const node_t *nodes;
    int64_t count;
    counter_t *counters;
    int64_t threads;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

#define OPEN ((int64_t)1 << 32)

static inline void pause_once(int64_t round) {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
    if (round % 64 == 63) sched_yield(); /* others may need this core, among them the one that is waited for */
}

/* Take tasks of one node until none is left. */
static void run_tasks(const node_t *node, counter_t *counter, int64_t worker, int64_t threads) {
    const int64_t *args = node->args + worker * node->stride;
    /* Take several tasks at a time where there are very many, so that the counter is never the bottleneck. */
    int64_t grain = node->tasks / (threads * 64);
    if (grain < 1) grain = 1;
    while (__atomic_load_n(&counter->next, __ATOMIC_RELAXED) < node->tasks) {
        int64_t begin = __atomic_fetch_add(&counter->next, grain, __ATOMIC_RELAXED);
        if (begin >= node->tasks) break;
        int64_t end = begin + grain < node->tasks ? begin + grain : node->tasks;
        node->kernel(args, begin, end);
        __atomic_fetch_add(&counter->ended, end - begin, __ATOMIC_ACQ_REL);
    }
}

/* All nodes in order; a node starts when all tasks of the one before have ended, on whatever thread. */
static void run_nodes(const node_t *nodes, int64_t count, counter_t *counters, int64_t worker, int64_t threads) {
    for (int64_t i = 0; i < count; i++) {
        run_tasks(&nodes[i], &counters[i], worker, threads);
        for (int64_t round = 0; __atomic_load_n(&counters[i].ended, __ATOMIC_ACQUIRE) < nodes[i].tasks; round++)
            pause_once(round);
    }
}

/* Enter the open plan, if there is one, help, and leave. */
static void help(int64_t worker) {
    int64_t inside = __atomic_load_n(&pool.inside, __ATOMIC_ACQUIRE);
    do {
        if (!(inside & OPEN)) return;
    } while (!__atomic_compare_exchange_n(&pool.inside, &inside, inside + 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    if (worker < pool.threads) run_nodes(pool.nodes, pool.count, pool.counters, worker, pool.threads);
    __atomic_fetch_sub(&pool.inside, 1, __ATOMIC_ACQ_REL);
}

static void *worker_main(void *number) {
    int64_t worker = (int64_t)(intptr_t)number, seen = 0;
    flush_denormals();
    for (;;) {
        for (int64_t round = 0; round < SPINS && __atomic_load_n(&pool.plans, __ATOMIC_SEQ_CST) == seen; round++)
            pause_once(round);
        if (__atomic_load_n(&pool.plans, __ATOMIC_SEQ_CST) == seen) {
            pthread_mutex_lock(&pool.lock);
            __atomic_fetch_add(&pool.sleeping, 1, __ATOMIC_SEQ_CST);
            while (__atomic_load_n(&pool.plans, __ATOMIC_SEQ_CST) == seen) pthread_cond_wait(&pool.wake, &pool.lock);
            __atomic_fetch_sub(&pool.sleeping, 1, __ATOMIC_SEQ_CST);
            pthread_mutex_unlock(&pool.lock);
        }
        seen = __atomic_load_n(&pool.plans, __ATOMIC_SEQ_CST);
        help(worker);
    }
    return 0;
}

/* Make workers until there are `wanted`; fewer if the system refuses. Signals stay with Python's threads. */
static void make_workers(int64_t wanted) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_mutex_lock(&pool.lock);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool.workers < wanted) {
        pthread_t thread;
        if (pthread_create(&thread, 0, worker_main, (void *)(intptr_t)(pool.workers + 1))) break;
        pthread_detach(thread);
        pool.workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, 0);
    pthread_mutex_unlock(&pool.lock);
}

/* Run the nodes with the workers' help; 0 if another plan has them. */
static int run_parallel(const node_t *nodes, int64_t count, counter_t *counters, int64_t threads) {
    if (__atomic_exchange_n(&pool.taken, 1, __ATOMIC_ACQUIRE)) return 0;
    if (pool.workers < threads - 1) make_workers(threads - 1);
    pool.nodes = nodes, pool.count = count, pool.counters = counters, pool.threads = threads;
    __atomic_store_n(&pool.inside, OPEN, __ATOMIC_RELEASE);
    __atomic_fetch_add(&pool.plans, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&pool.sleeping, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&pool.lock);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.lock);
    }
    uint64_t state = flush_denormals();
    run_nodes(nodes, count, counters, 0, threads);
    restore_state(state);
    __atomic_fetch_and(&pool.inside, ~OPEN, __ATOMIC_ACQ_REL);
    for (int64_t round = 0; __atomic_load_n(&pool.inside, __ATOMIC_ACQUIRE); round++) pause_once(round);
    __atomic_store_n(&pool.taken, 0, __ATOMIC_RELEASE);
    return 1;
}

#endif
#endif
