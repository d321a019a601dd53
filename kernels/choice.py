"""Which algorithm computes an operation: the one that was faster when its shape was first seen, or a fixed one.

Different algorithms give different bits, so a choice that was made is kept: in this process, and on disk beside the
compiled kernels (one small file a shape, the first writer wins). Where nothing can be kept, and for work too small to
measure, the choice follows from the sizes alone, so that results are the same from run to run there too. The number of
threads plays no part in it.
"""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from .cache import cache_folder
from .instruction_sets import instruction_set
from .operation import Operation, Sizes

_DIRECT = ({"depthwise"}, {"direct", "narrow"})
CONV_ALGORITHMS: dict[str, tuple[set[str], ...]] = {
    "auto": (),
    "direct": _DIRECT,
    "winograd": ({"winograd", "wide_winograd"}, *_DIRECT),
    "im2col": ({"im2col"},),
}
"""What `set_conv_algorithm` takes, and the forms of the algorithms that it stands for: the first that suits is used."""
WORTH_MEASURING = 20_000_000  # floating-point operations: below them a call takes less than 0.1 ms
RUNS, LONG_ENOUGH = 5, 0.02
"""How often an algorithm is run at least, and the seconds that all take together: cores that slept begin slowly."""
MARGIN = 0.97
"""How much of the likeliest algorithm's time another one may take at most to be chosen: less is noise."""

_fixed = "auto"


def set_conv_algorithm(name: str) -> None:
    """Fix how convolutions and their gradients are computed, in all threads, from now on.

    Parameters
    ----------
    name : ``"auto"`` (the default): the first call for a shape measures what may be fastest and remembers it on disk;
        ``"direct"``: sums of products, exact for small integers; ``"winograd"``: F(4x4, 3x3) for 3x3 kernels of stride
        and dilation 1 without groups, direct for the others; ``"im2col"``: unfold, then multiply.

    Raises
    ------
    ValueError : `name` is none of these.

    Examples
    --------
    >>> set_conv_algorithm("direct")
    >>> get_conv_algorithm()
    'direct'
    >>> set_conv_algorithm("auto")
    """
    global _fixed
    if name not in CONV_ALGORITHMS:
        raise ValueError(f"set_conv_algorithm: algorithm is {name!r}, expected one of {', '.join(CONV_ALGORITHMS)}")
    _fixed = name


def get_conv_algorithm() -> str:
    """What `set_conv_algorithm` set; ``"auto"`` at first."""
    return _fixed


@contextmanager
def by_sizes(backend: str) -> Iterator[None]:
    """Inside a ``with`` block, in this thread, let the sizes alone decide for a backend, whatever was measured.

    For runs that have no time to measure, and for those that must come out the same whatever is remembered.
    """
    token = _by_sizes.set(backend)
    try:
        yield
    finally:
        _by_sizes.reset(token)


_by_sizes: ContextVar[str | None] = ContextVar("nnfast_algorithms_by_sizes", default=None)


def chosen_by_sizes() -> str | None:
    """The backend for which the sizes alone decide."""
    return _by_sizes.get()


def choose(
    op: Operation,
    sizes: Sizes,
    key: str,
    backend: str,
    seconds: Callable[[str], float],
    long_enough: float = LONG_ENOUGH,
) -> str:
    """The name of the algorithm to compute `op` with.

    Parameters
    ----------
    op, sizes, backend : what is computed, and where.
    key : the operation with its shapes and attributes as text; what choices are remembered by.
    seconds : runs an algorithm and returns the time it took; called if nothing is remembered.
    long_enough : the seconds that all runs take together, at least.

    Raises
    ------
    NotImplementedError : the backend has no such algorithm as `set_conv_algorithm` asks for.
    """
    rivals = contenders(op, sizes, key, backend)
    return rivals[0] if len(rivals) == 1 else _settled(_name(key, backend), rivals, seconds, long_enough)


def contenders(op: Operation, sizes: Sizes, key: str, backend: str) -> tuple[str, ...]:
    """The algorithms that `choose` runs to choose among them, or the only one that it returns."""
    if op.candidates and _fixed != "auto":
        return (_fixed_algorithm(op, sizes, backend),)
    key = _name(key, backend)
    if _by_sizes.get() == backend:
        if key not in _likeliest:
            _likeliest[key] = op.ranked(sizes, backend)[0]
        return (_likeliest[key],)
    if key not in _choices:
        ranked = op.ranked(sizes, backend)
        known = _remembered(key, ranked) if _measured(op, sizes, ranked) else ranked[0]
        if known is None:
            return ranked
        _choices[key] = known
    return (_choices[key],)


def _name(key: str, backend: str) -> str:
    """What a choice is remembered by: which algorithm is faster depends on the registers that Cython's kernels use."""
    return f"cython {instruction_set()} {key}" if backend == "cython" else f"{backend} {key}"


def _measured(op: Operation, sizes: Sizes, ranked: tuple[str, ...]) -> bool:
    """Whether there is more than one algorithm, and enough work to tell them apart."""
    return len(ranked) > 1 and op.flops is not None and op.flops(sizes) >= WORTH_MEASURING


def _file(folder: Path, key: str) -> Path:
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.algorithm"


def _fixed_algorithm(op: Operation, sizes: Sizes, backend: str) -> str:
    suitable = op.suitable(sizes, backend)
    likely = (*op.ranked(sizes, backend), *suitable)  # of several forms the one that "auto" would try comes first
    for forms in CONV_ALGORITHMS[_fixed]:
        for name in likely:
            if name in forms:
                return name
    raise NotImplementedError(f"{op.name}: the {backend} backend has no algorithm {_fixed!r} for this shape "
                              f"(it has {', '.join(suitable)}); call nnfast.set_conv_algorithm('auto')")  # fmt: skip


_choices: dict[str, str] = {}
_likeliest: dict[str, str] = {}


def forget() -> None:
    """Forget what this process has chosen (not what is on disk)."""
    _choices.clear()


def _remembered(key: str, ranked: tuple[str, ...]) -> str | None:
    """The choice that stands on disk, None if there is none; the likeliest where none can be kept."""
    folder = cache_folder()
    if folder is None:
        return ranked[0]
    kept = _read(_file(folder, key))
    return kept if kept in ranked else None


def _settled(key: str, ranked: tuple[str, ...], seconds: Callable[[str], float], long_enough: float) -> str:
    """The choice that is made now, and kept; another process's if that was first."""
    folder = cache_folder()
    assert folder is not None  # else there was nothing to choose
    file = _file(folder, key)
    if _read(file) not in (None, *ranked):  # damaged, or of algorithms that are no more
        file.unlink(missing_ok=True)
    _write(file, _fastest(ranked, seconds, long_enough), key)
    kept = _read(file)
    _choices[key] = kept if kept in ranked else ranked[0]  # what cannot be kept would differ from run to run
    return _choices[key]


def _fastest(ranked: tuple[str, ...], seconds: Callable[[str], float], long_enough: float) -> str:
    """The one whose shortest run is the shortest: whatever else a machine does makes runs longer, never shorter."""
    for name in ranked:  # compiles it, touches its memory
        seconds(name)
    shortest, order, runs, spent = dict.fromkeys(ranked, math.inf), ranked, 0, 0.0
    while runs < RUNS or spent < long_enough:
        for name in order:
            time = seconds(name)
            shortest[name], spent = min(shortest[name], time), spent + time
        order, runs = order[::-1], runs + 1
    fastest = min(ranked, key=shortest.__getitem__)
    return fastest if shortest[fastest] < MARGIN * shortest[ranked[0]] else ranked[0]


def _read(file: Path) -> str | None:
    """The algorithm that a file names, or None without a file; its second line says for what."""
    try:
        return file.read_bytes().split(b"\n", 1)[0].decode(errors="replace")
    except OSError:
        return None


def _write(file: Path, name: str, key: str) -> None:
    """Keep a choice, unless another process was first; without a choice on disk nothing is lost but time."""
    with suppress(OSError):
        handle, temporary = tempfile.mkstemp(prefix=".writing-", dir=file.parent)
        try:
            with os.fdopen(handle, "w") as stream:
                stream.write(f"{name}\n{key}\n")
                stream.flush()
                os.fsync(stream.fileno())
            with suppress(FileExistsError):
                os.link(temporary, file)
        finally:
            os.unlink(temporary)
