"""One stage each; the only code that knows configurations."""
