"""Hydra configurations: one file per script, one folder per group."""
