"""The kernels for a GPU, by Triton's interpreter, where Triton is installed; `test_gpu.py` runs them on a GPU."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton (pip install triton)")
def test_kernels_agree_with_torchs_operators() -> None:
    script = Path(__file__).parent / "kernels_beside_torch.py"
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    run = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False)
    assert run.stdout.endswith("the kernels agree\n"), run.stderr
