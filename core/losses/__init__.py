"""Training objectives: pure functions of their randomness."""
