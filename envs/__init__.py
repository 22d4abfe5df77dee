"""Simulated workcells."""
