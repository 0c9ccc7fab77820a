"""Train a policy from Python: `python train_from_python.py runs/hopper [SETTING=VALUE ...]`.

The hopper's recording comes with the program; the quickstart takes some minutes on two cores.
"""

import sys

import latent_combo


def main(out: str, **settings: object) -> None:
    """Train the quickstart's agent from states, and compare it with the data."""
    config = latent_combo.make_config(preset="quickstart", obs="state", out=out, **settings)
    result = latent_combo.train(config)
    print(f"the policy returns {result.return_mean:.0f}, the dataset's {result.dataset_return_mean:.0f}")


if __name__ == "__main__":
    main(sys.argv[1], **dict(word.split("=", 1) for word in sys.argv[2:]))
