"""A Keras model made without ood-fashion, saved in both of the formats that `ood-fashion evaluate` takes.

python docs/examples/keras_model.py
ood-fashion evaluate --model-file my_model.keras --all
ood-fashion evaluate --model-file my_saved_model --all
"""

import keras

(x_train, y_train), _ = keras.datasets.fashion_mnist.load_data()
model = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        keras.layers.Conv2D(32, 5, activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(x_train[:10_000, ..., None] / 255, y_train[:10_000], batch_size=50, epochs=2, verbose=2)
model.save("my_model.keras")
model.export("my_saved_model", verbose=False)
