"""In which precision a device multiplies."""

import torch


def set_precision(device: torch.device, tf32: bool) -> None:
    """On a GPU, multiply float32 matrices by tensor cores, their entries rounded to 10 bits (`tf32`), or in full.

    Sums stay float32, and so does everything that is no product. On a CPU nothing changes.
    """
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32
