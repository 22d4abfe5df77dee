"""One step of guided unmasking."""
