"""Guarded execution: what a controller can notice by itself, and who acts when it does."""
