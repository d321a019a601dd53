from collections.abc import Iterable

import numpy as np

NODE_FIELDS: int
threaded: bool

def usable_threads(threads: int) -> int: ...
def addresses(arrays: Iterable[np.ndarray]) -> list[int]: ...
def run(nodes: np.ndarray, threads: int) -> None: ...
