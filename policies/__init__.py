"""How noise becomes an action."""
