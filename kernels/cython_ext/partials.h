/* Sums that tasks have taken on their own and another adds up, in order: the same bits on any number of threads. */
#ifndef NNFAST_PARTIALS_H
#define NNFAST_PARTIALS_H

#include <stdint.h>
#include <string.h>

/* The two rows of E sums of a task, set to 0; NULL if none are wanted. */
static inline double *own_sums(double *task_sums, int64_t task, int64_t E) {
    double *sums = task_sums + task * 2 * E;
    if (E == 0) return NULL;
    memset(sums, 0, 2 * E * sizeof(double));
    return sums;
}

/* sums = those of all tasks. */
static inline void add_tasks(const double *task_sums, double *sums, int64_t tasks, int64_t count) {
    for (int64_t i = 0; i < count; i++) sums[i] = 0;
    for (int64_t task = 0; task < tasks; task++)
        for (int64_t i = 0; i < count; i++) sums[i] += task_sums[task * count + i];
}

/* Elements first to last of the sum of some parts, of `size` elements each. */
static inline void add_parts(const float *partial, float *total, int64_t size, int64_t parts, int64_t first,
                             int64_t last) {
    for (int64_t i = first; i < last; i++) total[i] = partial[i];
    for (int64_t part = 1; part < parts; part++)
        for (int64_t i = first; i < last; i++) total[i] += partial[part * size + i];
}

#endif
