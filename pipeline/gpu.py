"""Where networks are trained and judged: a GPU where there is one, else the CPU."""

import functools
import os

import torch


@functools.cache
def compute_device() -> torch.device:
    """The first GPU that torch sees, set up for equal results at each run, else the CPU.

    `CUDA_VISIBLE_DEVICES=` (empty) in the environment keeps a run on the CPU. On a GPU, products stay in 32-bit floats:
    whole-number column sums must come out whole, which TensorFloat-32 and bfloat16 do not give.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as torch.use_deterministic_algorithms asks
    torch.use_deterministic_algorithms(True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda")
