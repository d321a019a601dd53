"""Scales, shifts, activations and sums of two branches, one number at a time."""

from __future__ import annotations

import math

import numpy as np

from .fused import activated, before, derivative

Arrays = dict[str, np.ndarray]


def affine_forward(x, scale, shift, r, r_scale, r_shift, activation) -> Arrays:
    y = np.zeros(x.shape)
    for m, c in np.ndindex(x.shape):
        value = before(x[m, c], scale, shift, c)
        if len(r):
            value += before(r[m, c], r_scale, r_shift, c)
        y[m, c] = activated(value, activation)
    return {"y": y}


def affine_backward(dy, dy2, y, z, scale, shift, centre, r, r_centre, activation) -> Arrays:
    dx = np.zeros(dy.shape)
    for m, c in np.ndindex(dy.shape):
        gradient = float(dy[m, c]) + (float(dy2[m, c]) if len(dy2) else 0.0)
        if len(y):
            gradient *= derivative(float(y[m, c]), activation)
        elif len(z):
            gradient *= derivative(before(z[m, c], scale, shift, c), activation)
        dx[m, c] = gradient
    return {"dx": dx, "sums": added(dx, z, centre), "r_sums": added(dx, r, r_centre)}


def added(dx, z, centre):
    sums = np.zeros((2, len(centre)))
    for c in range(len(centre)):
        sums[0, c] = math.fsum(dx[:, c].tolist())
        if len(z):
            sums[1, c] = math.fsum(dx[m, c] * (z[m, c] - centre[c]) for m in range(len(dx)))
    return sums


def affine_gradient(dy, z, slope, factor, offset) -> Arrays:
    dx = np.zeros(dy.shape)
    for m, c in np.ndindex(dy.shape):
        dx[m, c] = slope[c] * dy[m, c] + factor[c] * z[m, c] + offset[c]
    return {"dx": dx}
