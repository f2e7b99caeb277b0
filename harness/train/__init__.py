"""Variants, fine-tuning, checkpoints, fusing."""
