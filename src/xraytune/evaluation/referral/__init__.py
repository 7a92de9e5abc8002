"""Images that a model leaves to a radiologist: the two thresholds, how they are chosen, what they do."""
