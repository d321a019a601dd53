/* What all fused operations share; see kernels/fused.py. */
#ifndef NNFAST_FUSION_H
#define NNFAST_FUSION_H

#include <stdint.h>

enum { RELU = 1, RELU6 = 2 };

/* sums = those of all tasks, added in order. */
static inline void add_tasks(const double *task_sums, double *sums, int64_t tasks, int64_t count) {
    for (int64_t i = 0; i < count; i++) sums[i] = 0;
    for (int64_t task = 0; task < tasks; task++)
        for (int64_t i = 0; i < count; i++) sums[i] += task_sums[task * count + i];
}

#endif
