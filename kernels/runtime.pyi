from collections.abc import Iterable

import numpy as np

JOINED: int
NODE_FIELDS: int
processor_has: tuple[str, ...]
threaded: bool

def usable_threads(threads: int) -> int: ...
def addresses(arrays: Iterable[np.ndarray]) -> list[int]: ...
def counter_bytes(count: int) -> int: ...
def run(
    nodes: np.ndarray, threads: int, times: np.ndarray | None = None, counters: np.ndarray | None = None
) -> int: ...
