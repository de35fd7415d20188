"""Training: from a run's settings to a complete run."""
