"""How many threads kernels run on."""

from __future__ import annotations

import math
import os
from pathlib import Path

_threads: int | None = None


def cgroup_quota(root: Path = Path("/")) -> float | None:
    """CPUs that the process's control group may use (version 1 or 2), or None where there is no limit.

    Every group up to the root counts: a container's limit may stand above the process's own group.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        base = root / "sys/fs/cgroup"
        if controllers and "cpu" not in controllers.split(","):
            continue
        bases = [base / controllers, base / "cpu", base / "cpu,cpuacct"] if controllers else [base, base / "unified"]
        for mount in bases:
            for group in (mount / path.lstrip("/"), *(mount / path.lstrip("/")).parents):
                limits.append(_limit(group))
                if group == mount:
                    break
    found = [limit for limit in limits if limit is not None]
    return min(found) if found else None


def _limit(group: Path) -> float | None:
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def default_num_threads(root: Path = Path("/")) -> int:
    """min(affinity, cgroup quota, ``OMP_NUM_THREADS`` where it is set), at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    bounds = [float(affinity)]
    quota = cgroup_quota(root)
    if quota is not None:
        bounds.append(math.ceil(quota))
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if wanted.isdigit():
        bounds.append(int(wanted))
    return max(1, int(min(bounds)))


def get_num_threads() -> int:
    """The number of threads that kernels run on.

    Examples
    --------
    >>> get_num_threads() >= 1
    True
    """
    global _threads
    if _threads is None:
        _threads = default_num_threads()
    return _threads


def set_num_threads(threads: int) -> None:
    """Set the number of threads that kernels run on; results are the same bits for any.

    Raises
    ------
    ValueError : `threads` is not a whole number of at least 1.
    """
    global _threads
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise ValueError(f"set_num_threads: threads is {threads!r}, expected a whole number of at least 1")
    _threads = threads
