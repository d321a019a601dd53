"""The default number of threads: affinity, control groups of both versions, environment."""

from __future__ import annotations

import os

import pytest
from nnfast.kernels.threads import cgroup_quota, default_num_threads


def make(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


V2 = {"proc/self/cgroup": "0::/user/job\n"}
V1 = {"proc/self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/docker/abc\n0::/\n"}


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        (V2, None),
        (V2 | {"sys/fs/cgroup/user/job/cpu.max": "max 100000\n"}, None),
        (V2 | {"sys/fs/cgroup/user/job/cpu.max": "150000 100000\n"}, 1.5),
        (V2 | {"sys/fs/cgroup/user/job/cpu.max": "max 100000\n", "sys/fs/cgroup/user/cpu.max": "50000 100000\n"}, 0.5),
        (V2 | {"sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3.0),
        (V2 | {"sys/fs/cgroup/user/job/cpu.max": "garbage\n"}, None),
        (V1 | {"sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "-1",
               "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000"}, None),
        (V1 | {"sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us": "250000",
               "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us": "100000"}, 2.5),
        # Inside a container the group's own path is mounted as the root of the hierarchy.
        (V1 | {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 1.0),
        (V1 | {"sys/fs/cgroup/memory/x/cpu.max": "100 100000"}, None),
    ],
)  # fmt: skip
def test_cgroup_quota(tmp_path, files, quota):
    assert cgroup_quota(make(tmp_path, files)) == quota


def test_default_is_the_least_of_affinity_quota_and_environment(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert default_num_threads(tmp_path) == 8
    make(tmp_path, V2 | {"sys/fs/cgroup/user/job/cpu.max": "250000 100000\n"})
    assert default_num_threads(tmp_path) == 3, "a quota of 2.5 CPUs keeps three threads busy"
    monkeypatch.setenv("OMP_NUM_THREADS", "2,1")
    assert default_num_threads(tmp_path) == 2
    make(tmp_path, {"sys/fs/cgroup/user/job/cpu.max": "10000 100000\n"})
    assert default_num_threads(tmp_path) == 1
