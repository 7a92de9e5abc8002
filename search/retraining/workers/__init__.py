"""Processes that train, outside Ray."""
