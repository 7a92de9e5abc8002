"""One configuration trained: inputs, optimization, epochs, evaluation, history."""
