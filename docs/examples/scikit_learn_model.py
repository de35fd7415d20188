"""A scikit-learn classifier under the assignment's test sets, or under the shifts given as arguments.

python docs/examples/scikit_learn_model.py up4 rotate:45 fog:3
"""

import sys

import numpy as np
from sklearn.ensemble import RandomForestClassifier

import ood_fashion as ood

data = ood.load_dataset()
images, labels = data.train
forest = RandomForestClassifier(random_state=0, n_jobs=2)
forest.fit(images[:10_000].reshape(-1, 784) / np.float32(255), labels[:10_000])

print(ood.evaluate(forest.predict_proba, sys.argv[1:] or ood.TEST_SETS, data=data))
