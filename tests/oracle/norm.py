"""Batch normalisation, channel by channel, with exactly rounded sums."""

from __future__ import annotations

import math

import numpy as np

Arrays = dict[str, np.ndarray]


def affine(values: np.ndarray, c: int, absent: float) -> float:
    return float(values[c]) if len(values) else absent


def batch_norm_forward(x, w, b, momentum, running_mean, running_var, eps) -> Arrays:
    rows, channels = x.shape
    y, mean, invstd = np.zeros(x.shape), np.zeros(channels), np.zeros(channels)
    new_mean, new_var = running_mean.astype(float), running_var.astype(float)
    rate = float(momentum[0])
    for c in range(channels):
        column = x[:, c].tolist()
        mean[c] = math.fsum(column) / rows
        squares = math.fsum((value - mean[c]) ** 2 for value in column)
        invstd[c] = 1.0 / math.sqrt(squares / rows + eps)
        for m, value in enumerate(column):
            y[m, c] = (value - mean[c]) * invstd[c] * affine(w, c, 1.0) + affine(b, c, 0.0)
        if len(running_mean):
            new_mean[c] = (1.0 - rate) * new_mean[c] + rate * mean[c]
            new_var[c] = (1.0 - rate) * new_var[c] + rate * squares / (rows - 1)
    return {"y": y, "mean": mean, "invstd": invstd, "running_mean": new_mean, "running_var": new_var}


def batch_norm_inference(x, w, b, running_mean, running_var, eps) -> Arrays:
    y = np.zeros(x.shape)
    for c in range(x.shape[1]):
        std = math.sqrt(float(running_var[c]) + eps)
        for m, value in enumerate(x[:, c].tolist()):
            y[m, c] = (value - float(running_mean[c])) / std * affine(w, c, 1.0) + affine(b, c, 0.0)
    return {"y": y}


def batch_norm_backward(dy, x, w, mean, invstd) -> Arrays:
    rows, channels = x.shape
    dx, dw, db = np.zeros(x.shape), np.zeros(channels), np.zeros(channels)
    for c in range(channels):
        gradient = dy[:, c].tolist()
        normal = [(value - float(mean[c])) * float(invstd[c]) for value in x[:, c].tolist()]
        db[c] = math.fsum(gradient)
        dw[c] = math.fsum(g * v for g, v in zip(gradient, normal, strict=True))
        for m in range(rows):
            inner = gradient[m] - db[c] / rows - normal[m] * dw[c] / rows
            dx[m, c] = affine(w, c, 1.0) * float(invstd[c]) * inner
    return {"dx": dx, "dw": dw, "db": db}


def batch_norm_inference_backward(dy, x, w, running_mean, running_var, eps) -> Arrays:
    rows, channels = x.shape
    dx, dw, db = np.zeros(x.shape), np.zeros(channels), np.zeros(channels)
    for c in range(channels):
        std = math.sqrt(float(running_var[c]) + eps)
        gradient = dy[:, c].tolist()
        db[c] = math.fsum(gradient)
        dw[c] = math.fsum(
            g * (v - float(running_mean[c])) / std for g, v in zip(gradient, x[:, c].tolist(), strict=True)
        )
        for m in range(rows):
            dx[m, c] = gradient[m] * affine(w, c, 1.0) / std
    return {"dx": dx, "dw": dw, "db": db}


def channel_sums(x, centre) -> Arrays:
    sums = np.zeros((2, x.shape[1]))
    for c in range(x.shape[1]):
        deviations = [value - float(centre[c]) for value in x[:, c].tolist()]
        sums[0, c] = math.fsum(deviations)
        sums[1, c] = math.fsum(value**2 for value in deviations)
    return {"sums": sums}


def batch_norm_statistics(sums, centre, w, b, count, eps) -> Arrays:
    names = ("mean", "var", "invstd", "scale", "shift")
    results = {name: np.zeros(len(centre)) for name in names}
    for c in range(len(centre)):
        offset = float(sums[0, c]) / count
        mean, var = float(centre[c]) + offset, max(0.0, float(sums[1, c]) / count - offset**2)
        invstd = 1.0 / math.sqrt(var + eps)
        scale = affine(w, c, 1.0) * invstd
        for name, value in zip(names, (mean, var, invstd, scale, affine(b, c, 0.0) - mean * scale), strict=True):
            results[name][c] = value
    return results


def batch_norm_running(mean, var, momentum, running_mean, running_var, count) -> Arrays:
    rate = float(momentum[0])
    new_mean, new_var = running_mean.astype(float), running_var.astype(float)
    for c in range(len(mean)):
        unbiased = float(var[c]) * count / (count - 1) if count > 1 else math.nan
        new_mean[c] = (1.0 - rate) * new_mean[c] + rate * float(mean[c])
        new_var[c] = (1.0 - rate) * new_var[c] + rate * unbiased
    return {"running_mean": new_mean, "running_var": new_var}


def batch_norm_scale(running_mean, running_var, w, b, eps) -> Arrays:
    scale, shift = np.zeros(len(running_mean)), np.zeros(len(running_mean))
    for c in range(len(running_mean)):
        scale[c] = affine(w, c, 1.0) / math.sqrt(float(running_var[c]) + eps)
        shift[c] = affine(b, c, 0.0) - float(running_mean[c]) * scale[c]
    return {"scale": scale, "shift": shift}


def batch_norm_gradient(sums, w, mean, invstd, count) -> Arrays:
    names = ("dw", "db", "slope", "factor", "offset")
    results = {name: np.zeros(len(mean)) for name in names}
    for c in range(len(mean)):
        gain, std = affine(w, c, 1.0), float(invstd[c])
        dw, db = float(sums[1, c]) * std, float(sums[0, c])
        factor = -gain * std**2 * dw / count
        offset = -gain * std * db / count - factor * float(mean[c])
        for name, value in zip(names, (dw, db, gain * std, factor, offset), strict=True):
            results[name][c] = value
    return results


def channel_gradient(sums) -> Arrays:
    return {"db": sums[0].copy()}
