"""Small image classifiers on Fashion-MNIST, and their accuracy on shifted images.

    import ood_fashion as ood

    run = ood.train("cnn3")
    print(ood.evaluate(run))

The names are imported when they are used, so that `import ood_fashion` loads neither TensorFlow nor matplotlib.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
