"""The figures of the source document, a solved course assignment (CSCI 567, homework 3, October 2022)."""

TEST_SETS = ("none", "up4", "rotate90", "rotate180", "rotate270")
"""The document's five test sets, by the names of `ood_fashion.shifts.SHIFTS`."""

PARAMETERS = {"mlp": 101_770, "cnn2": 80_650, "cnn3": 68_106}
"""Parameter counts, problem 3.5 ii and iv."""

ACCURACY = {
    "mlp": {"up4": 0.4556, "rotate90": 0.0208, "rotate180": 0.1869, "rotate270": 0.0553},
    "cnn2": {"none": 0.8709, "up4": 0.5270, "rotate90": 0.0501, "rotate180": 0.2165, "rotate270": 0.0474},
    "cnn3": {"none": 0.8718, "up4": 0.5653, "rotate90": 0.0528, "rotate180": 0.0465, "rotate270": 0.0465},
}
"""Test accuracy by model and shift, problem 3.5 i, iii, v and vi; the MLP's in-domain accuracy is not given."""

SLIPS = {("cnn3", "rotate180"): "a slip of the document: it repeats the figure for rotate270"}
"""Figures in `ACCURACY` that are not what they claim to be, and why."""
