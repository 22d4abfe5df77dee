"""Log-densities of Gaussian mixtures."""
