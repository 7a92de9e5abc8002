"""The model that is kept."""
