"""Finalists, trained again on held-out folds."""
