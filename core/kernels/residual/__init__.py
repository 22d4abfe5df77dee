"""Weighted residuals: one sweep for the losses that compare a denoiser with something."""
