"""Linear layers: three nested loops."""

from __future__ import annotations

import numpy as np

Arrays = dict[str, np.ndarray]


def linear_forward(x, w, b) -> Arrays:
    rows, weight = x.tolist(), w.tolist()
    y = np.zeros((len(x), len(w)))
    for m, row in enumerate(rows):
        for o, column in enumerate(weight):
            total = float(b[o]) if len(b) else 0.0
            for i in range(len(row)):
                total += row[i] * column[i]
            y[m, o] = total
    return {"y": y}


def linear_backward_data(dy, w) -> Arrays:
    gradient, weight = dy.tolist(), w.tolist()
    dx = np.zeros((len(dy), w.shape[1]))
    for m, i in np.ndindex(dx.shape):
        total = 0.0
        for o in range(len(weight)):
            total += gradient[m][o] * weight[o][i]
        dx[m, i] = total
    return {"dx": dx}


def linear_backward_weight(x, dy) -> Arrays:
    rows, gradient = x.tolist(), dy.tolist()
    dw = np.zeros((dy.shape[1], x.shape[1]))
    for o, i in np.ndindex(dw.shape):
        total = 0.0
        for m in range(len(rows)):
            total += gradient[m][o] * rows[m][i]
        dw[o, i] = total
    return {"dw": dw}
