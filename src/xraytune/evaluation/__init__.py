"""What predictions are worth: metrics, intervals, calibration, thresholds, subgroups, shortcuts."""
