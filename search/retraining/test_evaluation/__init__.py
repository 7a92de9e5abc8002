"""The test set, evaluated once."""
