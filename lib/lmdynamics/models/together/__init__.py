"""Models that are trained at once on one GPU, which a single small model leaves idle.

`ways` has three ways with the same results: each model's steps in a stream of its own (`single`), these steps
captured as a CUDA graph (`captured`), and equal models stacked into one (`stack`). In all three no step waits
for the GPU. `company` takes the epochs, `packing` moves what is to be trained to another machine, and
``python -m lmdynamics.models.together`` trains it there.
"""
