"""Tests. On busy cores, OpenBLAS's threads spend ten times the computation on waiting for one another: it gets one."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported, and for the processes that tests start
