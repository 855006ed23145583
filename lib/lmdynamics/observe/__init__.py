"""What a model does with a text: hidden states, gradients, contributions of words and parameters."""
