"""Policies against a clock: plans that come late, in virtual time, and on the wall clock."""
