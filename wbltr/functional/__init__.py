"""The mathematics: pure functions on tensors, each with its formula, shapes and source. No state, no I/O, no generator."""
