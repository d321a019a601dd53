/* What the processor, and the operating system on it, can run. */
#ifndef NNFAST_PROCESSOR_H
#define NNFAST_PROCESSOR_H

#if defined(__GNUC__) && defined(__x86_64__)
static int processor_has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
}
static int processor_has_avx512(void) {
    return processor_has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#else
static int processor_has_avx2(void) { return 0; }
static int processor_has_avx512(void) { return 0; }
#endif

#endif
