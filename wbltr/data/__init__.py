"""Image sources: the known sets as arrays, where their files lie, how they are downloaded, how images are augmented."""
