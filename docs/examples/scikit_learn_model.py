"""A scikit-learn classifier under the document's test sets, or under the shifts given as arguments.

python docs/examples/scikit_learn_model.py up4 rotate:45 fog:3
"""

import sys

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from ood_fashion import paper, tables
from ood_fashion.evaluation import evaluate
from ood_fashion.sources import load_dataset

dataset = load_dataset()
forest = RandomForestClassifier(random_state=0, n_jobs=2)
forest.fit(dataset.train.images[:10_000].reshape(-1, 784) / np.float32(255), dataset.train.labels[:10_000])


def predict(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """From images (n, 28, 28) in [0, 1] to probabilities (n, 10)."""
    return np.asarray(forest.predict_proba(images.reshape(len(images), -1)))


shifts = sys.argv[1:] or paper.TEST_SETS
print(tables.accuracy_table(evaluate(predict, dataset.test.images, dataset.test.labels, shifts)))
