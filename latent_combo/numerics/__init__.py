"""Layers, products, optimiser, kernels and captured steps; nothing here knows of models."""
