"""Numbers from arrays: similarity, sparsity, probes, sums over words, pairs and trees."""
