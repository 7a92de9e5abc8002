"""Spaces without images, with which the engine is measured and broken."""
