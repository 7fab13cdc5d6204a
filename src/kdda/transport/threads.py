"""Threads of the solver in machine code, beside which neither torch's threads nor those of BLAS hold a core."""

import ctypes
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import Any

import torch

SOFT = 1  # `omp_pause_soft` of OpenMP 5.0: threads end, and everything else is kept


def in_threads(threads: int, pauses: bool, function: Callable[..., None], *arguments: Any) -> None:
    """Call a function of machine code once a thread, each for its share of the texts.

    Args:
        threads: how many, the calling one among them.
        pauses: whether it is worth ending torch's threads before, which start again at the next operation of torch.
        function: is called with the arguments, the number of the share, and the number of shares.
    """
    with one_thread_of_blas():
        if threads == 1:
            function(*arguments, 0, 1)
            return
        if pauses:
            pause_threads_of_torch()
        with ThreadPoolExecutor(threads - 1) as others:
            shares = [others.submit(function, *arguments, first, threads) for first in range(1, threads)]
            function(*arguments, 0, threads)
            for share in shares:
                share.result()


def pause_threads_of_torch() -> None:
    """End the threads that wait for the calling one's next operation of torch, if they are OpenMP's.

    GNU's OpenMP lets them wait by spinning for some 8 ms after each operation, in which they hold cores.
    """
    pause = _pause_of_openmp()
    if pause is not None:
        pause(SOFT)


@lru_cache
def _pause_of_openmp() -> Callable[[int], int] | None:
    """`omp_pause_resource_all` of the OpenMP that torch uses; None where it has none, or is not known to spin."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(torch._C.__file__)  # whose symbols are also those of the libraries that it loads
    return getattr(library, "omp_pause_resource_all", None)


_lock = Lock()

_users = 0  # threads that are within `one_thread_of_blas`

_limit: Any = None  # of threadpoolctl, while there are users


@contextmanager
def one_thread_of_blas() -> Iterator[None]:
    """Let the BLAS of scipy, by which numba multiplies, compute with one thread inside the block.

    The setting is the whole process's: the first thread that enters sets it, and the last one that leaves undoes it.
    """
    global _users, _limit
    with _lock:
        if _users == 0:
            _limit = _controller().limit(limits=1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _limit.restore_original_limits()


@lru_cache
def _controller() -> Any:
    """threadpoolctl's controller of the BLAS libraries that are loaded."""
    import scipy.linalg.cython_blas  # noqa: F401 - loads scipy's, which would else be loaded by the first product
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
