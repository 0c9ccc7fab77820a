"""Presets: one YAML file each, read by latent_combo.config.command_line."""
