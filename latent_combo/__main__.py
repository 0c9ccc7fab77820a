"""`python -m latent_combo`: what the console script `latent-combo` does."""

from latent_combo.cli import main

if __name__ == "__main__":
    main()
