/* The activations of fused operations; see kernels/fused.py. */
#ifndef NNFAST_FUSION_H
#define NNFAST_FUSION_H

enum { RELU = 1, RELU6 = 2 };

#endif
