/* The executor's threads: the caller runs a plan's nodes, workers help while they can.
 *
 * The caller never waits for a worker that has not begun to help: on a busy machine, one that the system has put aside
 * costs nothing (an OpenMP region waits for all of its threads at both ends, which was seen to cost 15 ms for a task of
 * 50 microseconds). Workers wait for work by spinning for a moment, then asleep. One plan has the workers at a time; a
 * second Python thread that runs a plan meanwhile runs it alone.
 *
 * Every worker has the same part of each node's tasks as long as all keep pace. Where tasks were handed out one after the
 * other, neighbours went to another core each time, which had to fetch from the first one's caches what it wrote: a 2 MB
 * elementwise operation took 42 microseconds instead of 26 in every third process, training steps up to a quarter longer.
 */
#ifndef NNFAST_POOL_H
#define NNFAST_POOL_H

#include <math.h>
#include <stdint.h>

#ifdef _WIN32
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>
#else
#include <time.h>
#endif

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#endif

typedef void (*kernel_t)(const int64_t *args, int64_t begin, int64_t end);

typedef struct { /* runtime.pyx describes the fields */
    kernel_t kernel;
    const int64_t *args; /* worker t reads the block at args + t * stride, where its own scratch is named */
    int64_t stride;
    int64_t tasks;
    int64_t flags;
} node_t;

#define NODE_FIELDS ((int64_t)(sizeof(node_t) / sizeof(int64_t)))
#define JOINED ((int64_t)1)

#define LINES 128 /* bytes */

typedef struct { /* on two cache lines of its own, for prefetchers fetch pairs */
    int64_t value;
    char line[LINES - 8];
} number_t;

#define RANGES 8 /* in which a node's tasks are taken, at most: one for each thread as long as there are no more */

typedef struct {
    number_t next[RANGES]; /* task of each range; of a guard, the first: what was decided */
    number_t ended;        /* tasks of the whole group, in the counter of its last node */
} counter_t;

typedef struct {
    const node_t *nodes;
    int64_t count;
    int64_t threads;
    counter_t *counters;
    double *times; /* begin and end of each node, or 0 */
} plan_t;

/* Where counters begin in memory that has room for LINES more. */
static inline counter_t *place_counters(void *memory) {
    return (counter_t *)(((uintptr_t)memory + LINES - 1) / LINES * LINES);
}

/* ------------------------------------------------------------ groups and guards */

static inline int64_t tasks_of(const node_t *node) { return node->kernel && node->tasks > 0 ? node->tasks : 0; }

/* Where the group that begins at node `first` ends, and how many tasks it has. */
static inline int64_t group_end(const plan_t *plan, int64_t first, int64_t *tasks) {
    int64_t i = first, joined = 1;
    *tasks = 0;
    for (; joined && i < plan->count; i++) {
        const node_t *node = &plan->nodes[i];
        *tasks += tasks_of(node);
        joined = node->kernel && (node->flags & JOINED) && !plan->times;
    }
    return i;
}

/* The tasks of the largest group: more threads than that have nothing to do. */
static int64_t most_tasks(const plan_t *plan) {
    int64_t most = 0, tasks;
    for (int64_t i = 0; i < plan->count;) {
        i = group_end(plan, i, &tasks);
        if (tasks > most) most = tasks;
    }
    return most;
}

static inline int guard_finite(const node_t *guard) { return isfinite(*(const double *)guard->args) != 0; }

/* Seconds on the clock of Python's time.perf_counter, rounded as there. */
static inline double seconds(void) {
#if defined(_WIN32)
    LARGE_INTEGER ticks, rate;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&rate);
    return (double)ticks.QuadPart / (double)rate.QuadPart;
#elif defined(__APPLE__)
    return (double)clock_gettime_nsec_np(CLOCK_UPTIME_RAW) / 1e9;
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)((int64_t)now.tv_sec * 1000000000 + now.tv_nsec) / 1e9;
#endif
}

/* Note that node `i` began at *begin and ends now, when the next one begins. */
static inline void note_time(const plan_t *plan, int64_t i, double *begin) {
    plan->times[2 * i] = *begin;
    plan->times[2 * i + 1] = *begin = seconds();
}

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

/* The number of the guard that stopped the plan, or of all nodes. */
static int64_t run_serial(const plan_t *plan) {
    uint64_t state = flush_denormals();
    double begin = plan->times ? seconds() : 0;
    int64_t i = 0;
    for (; i < plan->count; i++) {
        const node_t *node = &plan->nodes[i];
        int stop = !node->kernel && !guard_finite(node);
        if (tasks_of(node)) node->kernel(node->args, 0, node->tasks);
        if (plan->times) note_time(plan, i, &begin);
        if (stop) break;
    }
    restore_state(state);
    return i;
}

#if defined(NNFAST_NO_THREADS) || defined(_WIN32)

#define NNFAST_THREADED 0

static int64_t run_parallel(const plan_t *plan) {
    (void)plan;
    return -1;
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
    const plan_t *plan;
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

static inline int64_t ranges_of(const plan_t *plan) { return plan->threads < RANGES ? plan->threads : RANGES; }

/* Take tasks of one node until none is left; how many it were.
 *
 * A worker begins with a range of its own, then takes what others have left of theirs. */
static inline int64_t run_tasks(const plan_t *plan, const node_t *node, counter_t *counter, int64_t worker) {
    const int64_t *args = node->args + worker * node->stride;
    int64_t tasks = tasks_of(node), ranges = ranges_of(plan), done = 0;
    /* Take several tasks at a time where there are very many, so that the counter is never the bottleneck. */
    int64_t grain = tasks / (plan->threads * 64);
    if (grain < 1) grain = 1;
    for (int64_t i = 0; i < ranges; i++) {
        int64_t range = (worker + i) % ranges, first = tasks * range / ranges;
        int64_t count = tasks * (range + 1) / ranges - first, *next = &counter->next[range].value;
        while (__atomic_load_n(next, __ATOMIC_RELAXED) < count) {
            int64_t begin = __atomic_fetch_add(next, grain, __ATOMIC_RELAXED);
            if (begin >= count) break;
            int64_t end = begin + grain < count ? begin + grain : count;
            node->kernel(args, first + begin, first + end);
            done += end - begin;
        }
    }
    return done;
}

/* Whether a guard stops the plan. The first worker here decides for all: nodes behind may use the number's memory. */
static int guard_stops(const node_t *guard, int64_t *decided) {
    enum { UNDECIDED, PASS, STOP };
    int64_t decision = __atomic_load_n(decided, __ATOMIC_ACQUIRE);
    if (decision == UNDECIDED) {
        int64_t own = guard_finite(guard) ? PASS : STOP;
        if (__atomic_compare_exchange_n(decided, &decision, own, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) decision = own;
    }
    return decision == STOP;
}

/* All groups in order; one starts when all tasks of the one before have ended, on whatever thread. */
static int64_t run_nodes(const plan_t *plan, int64_t worker) {
    const node_t *nodes = plan->nodes;
    counter_t *counters = plan->counters;
    double begin = plan->times ? seconds() : 0;
    for (int64_t i = 0, tasks; i < plan->count;) {
        int64_t end = group_end(plan, i, &tasks), last = end - 1;
        int64_t *ended = &counters[last].ended.value;
        int64_t done = 0; /* added once, for each addition takes the cache line from the other cores */
        for (; i < end; i++) done += run_tasks(plan, &nodes[i], &counters[i], worker);
        if (done) __atomic_fetch_add(ended, done, __ATOMIC_ACQ_REL);
        for (int64_t round = 0; __atomic_load_n(ended, __ATOMIC_ACQUIRE) < tasks; round++) pause_once(round);
        int stop = !nodes[last].kernel && guard_stops(&nodes[last], &counters[last].next[0].value);
        if (plan->times && worker == 0) note_time(plan, last, &begin);
        if (stop) return last;
    }
    return plan->count;
}

/* Enter the open plan, if there is one, help, and leave. */
static void help(int64_t worker) {
    int64_t inside = __atomic_load_n(&pool.inside, __ATOMIC_ACQUIRE);
    do {
        if (!(inside & OPEN)) return;
    } while (!__atomic_compare_exchange_n(&pool.inside, &inside, inside + 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    if (worker < pool.plan->threads) run_nodes(pool.plan, worker);
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

/* What `run_serial` does, with the workers' help; -1 if another plan has them. */
static int64_t run_parallel(const plan_t *plan) {
    if (__atomic_exchange_n(&pool.taken, 1, __ATOMIC_ACQUIRE)) return -1;
    if (pool.workers < plan->threads - 1) make_workers(plan->threads - 1);
    for (int64_t i = 0; i < plan->count; i++) {
        for (int64_t range = 0; range < ranges_of(plan); range++) plan->counters[i].next[range].value = 0;
        plan->counters[i].ended.value = 0;
    }
    pool.plan = plan;
    __atomic_store_n(&pool.inside, OPEN, __ATOMIC_RELEASE);
    __atomic_fetch_add(&pool.plans, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&pool.sleeping, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&pool.lock);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.lock);
    }
    uint64_t state = flush_denormals();
    int64_t ran = run_nodes(plan, 0);
    restore_state(state);
    __atomic_fetch_and(&pool.inside, ~OPEN, __ATOMIC_ACQ_REL);
    for (int64_t round = 0; __atomic_load_n(&pool.inside, __ATOMIC_ACQUIRE); round++) pause_once(round);
    __atomic_store_n(&pool.taken, 0, __ATOMIC_RELEASE);
    return ran;
}

#endif
#endif
