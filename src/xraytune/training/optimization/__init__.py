"""How weights are fitted: settings, compilation, fused batch normalisation, averaging."""
