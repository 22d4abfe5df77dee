"""Noise levels, denoisers and samplers."""
