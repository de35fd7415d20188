"""Shifts of images: translations, rotations, corruptions, and the random changes of training images."""
