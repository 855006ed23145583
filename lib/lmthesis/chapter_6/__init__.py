"""Chapter 6: sparsity of layers and gradients, word by word."""
