"""The assignment's theory in NumPy alone, to be read beside docs/theory.md.

Nothing here imports TensorFlow, Keras or the rest of the package but for its errors: the tests hold it against Keras.
"""

SEED = 42
"""Decides what is random wherever no other seed is given, here and in `ood-fashion scratch`."""
