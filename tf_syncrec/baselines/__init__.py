"""Baselines to compare with: one file each, on our layers, losses, data and training script."""
