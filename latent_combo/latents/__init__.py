"""From a dataset's rows to a world model's segments, and from a world model to latents."""
