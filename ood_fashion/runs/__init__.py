"""Runs: the settings of a training, and the folder that holds its results."""
