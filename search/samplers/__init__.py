"""Samplers: they propose the next configuration."""

SAMPLERS = ("bo", "tpe", "random")
"""The sampler (`search.samplers.factory`); the first is the default."""
