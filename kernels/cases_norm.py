"""Cases of batch norms in pieces, and of what is left of a norm, an activation and a sum of two branches."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from .case import Case, Draw, rounded
from .fused import NO_ACTIVATION, RELU, RELU6

SIZES = ((0, 3), (1, 1), (3, 3), (9, 15), (7, 16), (9, 17), (2, 31), (33, 33), (70, 24), (5000, 8), (40000, 1),
         (40, 1000))  # fmt: skip


def split_norm_cases() -> Iterator[Case]:
    """Cases of the pieces of a batch norm."""
    for m, c in SIZES:
        yield from split_norm(f"{m}x{c}", m, c)
    yield from split_norm("300x4096", 300, 4096, large=True)
    for m, c in ((33, 17), (5000, 8), (40000, 1)):
        yield from split_norm(f"{m}x{c} mean 1e4", m, c, offset=1e4)
    yield from split_norm("33x17 plain", 33, 17, weight=False, bias=False, momentum=1.0)
    yield from split_norm("33x17 no bias", 33, 17, bias=False, eps=1e-3)
    yield from split_norm("33x17 some constant", 33, 17, spread=0.0, momentum=0.0)


def split_norm(
    name: str,
    m: int,
    c: int,
    offset: float = 0.0,
    spread: float = 1.0,
    weight: bool = True,
    bias: bool = True,
    eps: float = 1e-5,
    momentum: float = 0.1,
    large: bool = False,
) -> Iterator[Case]:
    """A case of each piece for m rows of c channels, of which every other one has so much `spread`."""
    draw = Draw("split_norm", name)
    deviation = draw.positive(c) * draw.normal(m, c)
    deviation[:, ::2] *= spread
    centre = rounded(offset + draw.normal(c))
    x = rounded(centre + 0.5 * draw.normal(c) + deviation)
    yield Case("channel_sums", name, {"x": x, "centre": centre}, {}, large)
    if not m:
        return
    sums = np.stack([(x - centre).sum(axis=0), np.square(x - centre).sum(axis=0)])
    if not spread:
        sums[1, ::2] *= 1.0 - 1e-12  # as rounding may leave it: the difference is below 0
    w, b = draw.normal(c if weight else 0), draw.normal(c if bias else 0)
    yield Case("batch_norm_statistics", name, {"sums": sums, "centre": centre, "w": w, "b": b},
               {"count": m, "eps": eps})  # fmt: skip
    mean, var = rounded(x.mean(axis=0)), rounded(x.var(axis=0))
    running = {"running_mean": rounded(mean + draw.normal(c)), "running_var": draw.positive(c)}
    yield Case("batch_norm_running", name, {"mean": mean, "var": var, "momentum": np.array([momentum]), **running},
               {"count": m})  # fmt: skip
    norm = {"running_mean": mean, "running_var": var, "w": w, "b": b}
    yield Case("batch_norm_scale", name, norm, {"eps": eps})
    gradient = {"sums": draw.rng.standard_normal((2, c)), "w": w, "mean": mean}
    yield Case("batch_norm_gradient", name, gradient | {"invstd": rounded(1.0 / np.sqrt(var + eps))}, {"count": m})
    yield Case("channel_gradient", name, {"sums": gradient["sums"]}, {})


JOINED = ("scale", "r", "r_scale", "dy2", "y", "z", "centre", "r_centre")
AFFINE: dict[str, tuple[int, int, int, Collection[str]]] = {
    "33x17 plain": (33, 17, NO_ACTIVATION, ()),
    "33x17 relu of y": (33, 17, RELU, ("y",)),
    "33x17 relu of z": (33, 17, RELU, ("z",)),
    "33x17 relu6 of y": (33, 17, RELU6, ("y", "dy2")),
    "33x17 relu6 of z": (33, 17, RELU6, ("z", "scale", "dy2")),
    "33x17 sums without z": (33, 17, RELU, ("y", "centre", "r_centre")),
    "33x17 sums of z": (33, 17, RELU6, ("z", "scale", "centre", "r")),
    "33x17 sums of z, without activation": (33, 17, NO_ACTIVATION, ("z", "centre", "dy2")),
    "33x17 sums of r": (33, 17, RELU, ("y", "r", "r_centre")),
    "33x17 sums of r without z": (33, 17, RELU, ("y", "r", "centre", "r_centre", "r_scale")),
    "33x17 y before z": (33, 17, RELU, ("y", "z", "scale", "centre")),
    "33x17 sum of branches": (33, 17, NO_ACTIVATION, ("r", "dy2")),
    "no rows, relu6 of y": (0, 17, RELU6, ("y", "scale", "centre", "r", "r_centre")),
    "5000x8 relu of y": (5000, 8, RELU, ("y",)),
    "600x256 relu of z": (600, 256, RELU, ("z", "scale", "centre")),
}


def affine_cases() -> Iterator[Case]:
    """Cases of scales, shifts, activations and joined branches."""
    for m, c in SIZES:
        for activation, kind in ((RELU, "relu"), (RELU6, "relu6")):
            yield from affine(f"{m}x{c} all {kind}", m, c, activation, JOINED)
    for name, (m, c, activation, parts) in AFFINE.items():
        yield from affine(name, m, c, activation, parts, m * c > 100_000)
    yield from affine("300x1100 all relu", 300, 1100, RELU, JOINED, large=True)


def affine(name: str, m: int, c: int, activation: int, parts: Collection[str], large: bool = False) -> Iterator[Case]:
    """A case of each direction with those `parts` of `JOINED` that are there."""
    draw = Draw("affine", name)
    spread = 5.0 if activation == RELU6 else 1.0  # so that some numbers are above 6

    def optional(part: str, *shape: int) -> np.ndarray:
        return draw.normal(*shape) if part in parts else np.zeros(0)

    def scaling(part: str) -> tuple[np.ndarray, np.ndarray]:
        """Of either sign, and no channel in which every row is on the same side of the kink."""
        if part not in parts:
            return np.zeros(0), np.zeros(0)
        return rounded(spread * draw.positive(c) * draw.rng.choice([-1.0, 1.0], c)), rounded(0.3 * draw.normal(c))

    (scale, shift), (r_scale, r_shift) = scaling("scale"), scaling("r_scale")
    x, r = draw.normal(m, c), optional("r", m, c)
    if "scale" not in parts:
        x = rounded(spread * x)
    yield Case("affine_forward", name, {"x": x, "scale": scale, "shift": shift, "r": r, "r_scale": r_scale,
                                        "r_shift": r_shift}, {"activation": activation}, large)  # fmt: skip
    y = rounded(np.clip(spread * optional("y", m, c), 0.0, 6.0 if activation == RELU6 else np.inf))
    yield Case("affine_backward", name, {
        "dy": draw.normal(m, c), "dy2": optional("dy2", m, c), "y": y, "z": x if "z" in parts else np.zeros(0),
        "scale": scale, "shift": shift, "centre": optional("centre", c), "r": r,
        "r_centre": optional("r_centre", c)}, {"activation": activation}, large)  # fmt: skip
    yield Case("affine_gradient", name, {
        "dy": draw.normal(m, c), "z": x, "slope": draw.normal(c), "factor": draw.normal(c),
        "offset": draw.normal(c)}, {}, large)  # fmt: skip
