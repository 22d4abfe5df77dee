"""Demonstrations on disk, and the windows cut from them."""
