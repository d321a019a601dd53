from collections.abc import Iterable, Sequence
from typing import Any

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

class Launch:
    def __init__(
        self,
        nodes: np.ndarray,
        block: np.ndarray,
        arrays: Sequence[np.ndarray],
        temporaries: np.ndarray,
        memory: np.ndarray | None,
        threads: int,
        owners: Any = None,
    ) -> None: ...
    def run(self) -> None: ...
