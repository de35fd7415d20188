"""Models: as descriptions of layers, as Keras models, and in files."""
