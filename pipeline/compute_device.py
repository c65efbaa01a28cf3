"""The device on which networks are trained and judged: a GPU where there is one, else the CPU."""

import functools
import os

import torch


@functools.cache
def compute_device() -> torch.device:
    """The first GPU that torch sees, set up to give equal results at each run; without one the CPU.

    An empty `CUDA_VISIBLE_DEVICES=` in the environment keeps a run on the CPU.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as torch.use_deterministic_algorithms asks
    torch.use_deterministic_algorithms(True)
    round_products(False)
    return torch.device("cuda")


def round_products(rounded: bool) -> None:
    """Set whether a GPU rounds the factors of products to the 11 bits of TensorFloat-32.

    Training does, since it is faster (docs/noise_model.md). Judging does not, since whole-number column sums must come
    out whole. On a CPU this has no effect.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = rounded
