"""wbltr: image classifiers on long-tailed data, trained by weight balancing."""
