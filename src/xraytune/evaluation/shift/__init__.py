"""Images without labels: whether they differ from the training images, and what a model may be worth on them."""
