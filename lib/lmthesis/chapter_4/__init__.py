"""Chapter 4: similarity of layers, over training and beside taggers."""
