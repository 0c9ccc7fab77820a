"""In which precision a device multiplies."""

import torch


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16; without them it takes some ten times as long as float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def set_precision(device: torch.device, tf32: bool) -> None:
    """On a GPU, multiply float32 matrices by tensor cores, their entries rounded to 10 bits (`tf32`), or in full.

    Sums stay float32, and so does everything that is no product. On a CPU nothing changes.
    """
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32
