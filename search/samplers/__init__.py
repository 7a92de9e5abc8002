"""Samplers: they propose the next configuration."""

SAMPLERS = ("bo", "tpe", "random")
"""Who suggests (`search.samplers.factory`); the first is the default."""
