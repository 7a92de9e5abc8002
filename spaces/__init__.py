"""What may vary in a search: plain functions over `keras_tuner.HyperParameters`, one named space a file."""
