"""Frozen backbones that a user brings as a file: what maps images to features in ONNX or in Keras's format."""
