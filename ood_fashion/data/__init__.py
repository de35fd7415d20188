"""Datasets: where images come from, how they are read and checked, and how they are written."""
