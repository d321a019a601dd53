"""Which kernels a training run computes with while Numba's are not compiled: Cython's, which are there from the start.

Compiling takes half a minute of a CPU's time, and a first step on Cython's kernels a third of a second. So a run whose
kernels are not all on disk begins on Cython, another process compiles them (`nnfast.kernels.background`), and between
two epochs the run moves to Numba, if all is there by then that the epoch before needed: training steps, the last
batch's too, and validation. Within an epoch nothing moves, so that an epoch's losses come from one kind of kernels. If
all kernels of the first step are on disk, the run is Numba's from the start.

Where a seed was given a run waits for Numba's kernels instead: the two backends round differently, so a run that moved
when another process happened to be ready would never come out the same again. Nor does it use the algorithms that were
measured to be fastest, for measuring anew may end otherwise: sizes alone decide. Given is a seed by ``manual_seed``,
``seed_everything``, ``set_rng_state`` or a training ``DataLoader`` with ``seed`` or ``generator``; ``Trainer(...,
tiered=True)`` begins on Cython all the same, ``tiered=False`` never does. A run goes on from a checkpoint as it was
begun: one that was given a seed waits, one that was not goes on with what is on disk. A backend that somebody chose is
the one that runs. What cannot be captured is not known before it runs, so training steps that cannot be wait as well.

The compiling process ends with the run, complete or not. A user who sees training end would not expect a CPU to stay
busy for half a minute, or have the end wait for it. Nothing is lost: each kernel that was compiled stays, and the next
run compiles the others. It runs beside training, with the same priority: at a lower one it starves, for training keeps
all CPUs busy.

Where the folder of kernels cannot be written, every process would compile all of them again: such a run stays on
Cython. So does one whose compiling process fails, and everything where Numba is not installed. A warning says so, once.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnfast.kernels.backends import backend, chosen_backend, current_backend, has_numba, why_without_numba

if TYPE_CHECKING:
    from nnfast.compiler.variant import Variant
    from nnfast.kernels.background import Builder, Need

AUTO = "auto"
"""The backend, in a run's config, of a run that begins on Cython's kernels and moves to Numba's."""


class Tiers:
    """What a run that begins on Cython's kernels knows of Numba's.

    Parameters
    ----------
    folder : Path
        Where compiled kernels are kept.
    compiles : bool
        Whether what is missing is compiled; if not, the first computation decides for good.

    Attributes
    ----------
    waiting : bool
        Whether Cython's kernels run, and Numba's are looked for.
    """

    def __init__(self, folder: Path, compiles: bool) -> None:
        from nnfast.kernels.choice import by_sizes

        self.waiting = True
        self._folder, self._compiles = folder, compiles
        self._builder: Builder | None = None
        self._needs: list[Need] = []
        self._seen: set[Variant] = set()
        self._on_cython = ExitStack()
        self._on_cython.enter_context(backend("cython"))
        self._on_cython.enter_context(by_sizes("cython"))

    def look(self, variant: Variant, without: Collection[str]) -> None:
        """Note what Numba needs for a computation that is about to run; the first one may move the run to Numba.

        Parameters
        ----------
        variant : Variant
            What was captured of it.
        without : collection of str
            The passes that it is not rewritten by.
        """
        from nnfast.compiler.optimize import rewritten
        from nnfast.compiler.passes.algorithms import needs_of_numba
        from nnfast.kernels.background import Builder, missing

        if not self.waiting or variant in self._seen:
            return
        needs = needs_of_numba(rewritten(variant.captured, without))
        if not self._seen and not missing(needs):
            self._move()
            return
        self._seen.add(variant)
        self._needs += needs
        if self._compiles and self._builder is None:
            try:
                self._builder = Builder(self._folder)
            except OSError as error:
                self._stay(str(error))
        if self._builder is not None:
            self._builder.need(needs)

    def cannot_look(self) -> None:
        """Do without: the computation that is about to run cannot be captured. If it is the first, the run waits."""
        if self.waiting and not self._seen:
            self._move()

    def between_epochs(self) -> bool:
        """Move to Numba if all that is needed is there; whether the run has moved."""
        from nnfast.kernels.background import missing, unsettled

        if not self.waiting or self._builder is None:
            return False
        if not missing(self._needs) and not unsettled(self._needs):
            self._move()
            return True
        failure = self._builder.failure()
        if failure is not None:
            self._stay(failure)
        return False

    def progress(self) -> str:
        """How many of Numba's kernels there are, as text; nothing if none is awaited."""
        from nnfast.kernels.background import kernels, missing

        if not self.waiting or self._builder is None:
            return ""
        total = len(kernels(self._needs))
        return f"{total - len(missing(self._needs))} of {total}"

    def close(self) -> None:
        """End the process that compiles, and leave the choice of kernels to others."""
        self.waiting = False
        self._end()
        self._on_cython.close()

    def _stay(self, reason: str) -> None:
        """Say, once, that the run stays on Cython, and do not try again."""
        text = f"Numba's kernels could not be compiled ({reason}); training goes on with Cython's"
        warnings.warn(text, RuntimeWarning, stacklevel=4)
        self._compiles = False
        self._end()

    def _move(self) -> None:
        self.close()
        self._seen.clear()

    def _end(self) -> None:
        if self._builder is not None:
            self._builder.end()
            self._builder = None


_active: ContextVar[Tiers | None] = ContextVar("nnfast_tiers", default=None)


def active() -> Tiers | None:
    """What is known of Numba's kernels, in a run that began on Cython's; None in others."""
    return _active.get()


@contextmanager
def begin_on_cython(compiles: bool = True) -> Iterator[Tiers | None]:
    """Compute with Cython's kernels inside a ``with`` block, until Numba's are found or compiled.

    Parameters
    ----------
    compiles : bool, default True
        Whether missing ones are compiled; if not, what runs first decides which kernels do.

    Yields
    ------
    Tiers or None
        None where there is nothing to wait for: Cython's kernels run in any case, or somebody chose others.
    """
    from nnfast.kernels.cache import cache_root, opened

    if chosen_backend() is not None or not has_numba():
        yield None
        return
    folder = opened(cache_root())
    if isinstance(folder, str):
        _tell(f"nnfast computes with its Cython kernels, not with Numba's, which cannot be kept: {folder}")
        with backend("cython"):
            yield None
        return
    tiers = Tiers(folder, compiles)
    token = _active.set(tiers)
    try:
        yield tiers
    finally:
        _active.reset(token)
        tiers.close()


def kernels_of(name: str) -> AbstractContextManager[Any]:
    """The kernels of a run's config, as a context: of "auto" those that are there without compiling any."""
    return begin_on_cython(compiles=False) if name == AUTO else backend(name)


def same_bits() -> AbstractContextManager[None]:
    """Around a run that was given a seed: nothing that was measured, on this machine or before, has a say in it."""
    from nnfast.kernels.choice import by_sizes

    return by_sizes(current_backend())


def seeded(loader: Any) -> bool:
    """Whether somebody gave a seed that a run with this training loader depends on."""
    from nnfast.random import seed_given

    return seed_given() or bool(getattr(loader, "seed_given", False))


def tell_without_numba() -> None:
    """Say that Cython's kernels run because Numba cannot, if that is so, and once."""
    if not has_numba():
        _tell(f"{why_without_numba()}; nnfast computes with its Cython kernels")


@cache
def _tell(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=5)
