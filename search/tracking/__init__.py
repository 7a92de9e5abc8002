"""Who follows a search and a retraining: callbacks, and the trackers TensorBoard and MLflow on them."""
