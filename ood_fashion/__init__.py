"""Small image classifiers on Fashion-MNIST, and their accuracy on shifted images.

Importing this package imports neither TensorFlow nor matplotlib; `ood_fashion.nn` imports TensorFlow.
"""

__version__ = "0.1.0"
