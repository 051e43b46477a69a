"""The paper's figures: pure functions from arrays to a matplotlib Figure, one module a figure or a pair of them."""
