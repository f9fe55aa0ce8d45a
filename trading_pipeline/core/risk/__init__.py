"""Limits, halts, verdicts and clearances."""
