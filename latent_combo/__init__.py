"""Offline reinforcement learning from camera images: world models and conservative actor-critics in their latents."""
