from __future__ import annotations

import json
import subprocess
import sys

REPORT = """
import json, sys
{}
import keras
before = [name for name in ("IPython", "matplotlib", "pandas", "sklearn") if name in sys.modules]
import matplotlib, pandas
print(json.dumps([before, keras.config.backend(), matplotlib.__name__, pandas.__name__]))
"""
COMMAND = """
from ood_fashion.cli import main
sys.argv = ["ood-fashion", "params", "--verify"]
try:
    main()
except SystemExit as done:
    assert not done.code
"""
WORKER = """
from ood_fashion import lean_imports, parallel
lean_imports.wanted = True
from tests.calls import imported
print(json.dumps(list(parallel.run_parallel(imported, [(1,), (2,)], backend="loky", address=None, jobs=2))))
"""


def run(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_command_leaves_out_what_keras_imports_if_it_is_there() -> None:
    """And can import it itself afterwards; a notebook's Keras finds all."""
    before, *rest = json.loads(run(REPORT.format(COMMAND))[-1])
    assert (before, rest) == ([], ["tensorflow", "matplotlib", "pandas"])
    assert "pandas" in json.loads(run(REPORT.format("import ood_fashion._tensorflow"))[-1])[0]


def test_workers_import_as_their_command_does() -> None:
    assert json.loads(run(f"import json{WORKER}")[-1]) == [[], []]
