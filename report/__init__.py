"""Results of a run, as a table, pictures and one page."""
