"""A PyTorch model under the assignment's test sets, or under the shifts given as arguments.

python docs/examples/pytorch_model.py up4 rotate:45 fog:3
"""

import sys

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import ood_fashion as ood

data = ood.load_dataset()
images = torch.from_numpy(data.train.images[:10_000]).unsqueeze(1) / 255
labels = torch.from_numpy(data.train.labels[:10_000])

torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 32, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 12 * 12, 10))
optimizer = torch.optim.Adam(model.parameters())
for _epoch in range(2):
    for batch in torch.randperm(len(images)).split(50):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()


def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """From images (n, 28, 28) in [0, 1] to logits (n, 10)."""
    with torch.inference_mode():
        return np.asarray(model(torch.from_numpy(batch).unsqueeze(1)).numpy())


print(ood.evaluate(predict, sys.argv[1:] or ood.TEST_SETS, data=data))
