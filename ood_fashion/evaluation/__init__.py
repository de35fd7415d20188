"""Evaluation: scores under shifts, metrics of them, and the statistics that a claim needs."""
