"""The same generator on pixels: class-conditional diffusion models, their one-step students, and metrics."""
