"""What a training step is fed with: batches, augmentation, shifted views, frozen features."""
