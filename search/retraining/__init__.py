"""From the study's best trials to a final model with test figures."""
