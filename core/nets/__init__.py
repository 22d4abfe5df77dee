"""Networks: samples and conditions in, samples or features out."""
