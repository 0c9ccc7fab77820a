"""What `import latent_combo` offers to Python: runs, policies, settings, datasets, features and imagination."""
