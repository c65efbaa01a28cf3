"""Threads of numerical libraries: one in each process, for the processes of a run share the cores already.

Results then do not depend on the number of cores either, because sums are made in one order.
"""

import os
import sys

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def one_thread_each() -> None:
    """Let NumPy, SciPy, torch and Numba compute in one thread, in this process and in those that it starts.

    Libraries read these variables when they are loaded; those that were loaded before are told.
    """
    os.environ.update(dict.fromkeys(_VARIABLES, "1"))
    if "numpy" in sys.modules:
        from threadpoolctl import threadpool_limits

        threadpool_limits(limits=1)
