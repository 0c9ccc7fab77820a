"""A command starts with what it needs, and no more: most of what is imported here takes longer than the command."""

import json
import subprocess
import sys

SIMULATORS = {"mujoco", "dm_control", "metaworld", "minari", "jax", "sbx", "stable_baselines3"}
"""Imported where an environment or a learner is made."""
DRAWING = {"matplotlib", "torch.utils.tensorboard", "tensorboard", "jinja2", "imageio"}
NEVER = SIMULATORS | {"torch._dynamo", "torch._inductor", "triton", "scipy"}

# from the lightest to the heaviest, since one process imports them one after the other: what each does without
WITHOUT = {
    "envs.doctor": NEVER | DRAWING | {"torch", "gymnasium", "h5py", "PIL"},
    "data.inspect": NEVER | DRAWING | {"torch", "gymnasium"},
    "data.relabel": NEVER | DRAWING | {"torch"},
    "data.render": NEVER | DRAWING | {"torch"},
    "data.convert": NEVER | DRAWING | {"torch"},
    "data.collect": NEVER | DRAWING | {"torch"},
    "latent_combo.api.policy_file": NEVER | DRAWING | {"jsonargparse"},
    "latent_combo.config.command_line": NEVER | DRAWING,
    "latent_combo.export": NEVER | DRAWING,
    "latent_combo.evaluate": NEVER | DRAWING - {"imageio"},
    "latent_combo.report": NEVER | {"torch.utils.tensorboard", "tensorboard"},
    "latent_combo.visualise": NEVER,
    "latent_combo.train": NEVER,
}
SCRIPT = """
import importlib, json, sys
loaded = {}
for name in sys.argv[1:]:
    importlib.import_module(name)
    loaded[name] = sorted(sys.modules)
print(json.dumps(loaded))
"""


def test_commands_import_what_they_need() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, *WITHOUT], capture_output=True, text=True, check=True)
    loaded: dict[str, list[str]] = json.loads(done.stdout)
    for name, without in WITHOUT.items():
        assert not without.intersection(loaded[name]), name
