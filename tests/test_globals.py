"""What belongs to the whole process is as it was after everything has been used: training, export, command line."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import logging, os, signal, sys, warnings

# What other packages change when they are imported is theirs.
import keras, numpy, onnx, onnxruntime, starlette, tensorflow as tf, tensorflow_probability as tfp, tf2onnx, uvicorn
import onnxruntime.quantization, onnxruntime.transformers.float16, PIL
from tensorflow_probability import bijectors, distributions
tf.get_logger()
distributions.Normal(0.0, 1.0).sample()
tf.saved_model.save(tf.Module(), "saved")  # Changes the loggers of absl.


def process():
    loggers = {name: logger for name, logger in logging.root.manager.loggerDict.items() if hasattr(logger, "level")}
    ours = {name: logger for name, logger in loggers.items() if name in first}
    return {
        "warnings.formatwarning": warnings.formatwarning,
        "warnings.showwarning": warnings.showwarning,
        "warnings.filters": list(warnings.filters),
        "logging.disable": logging.root.manager.disable,
        "root logger": (logging.root.level, list(logging.root.handlers)),
        "loggers": {name: (logger.level, list(logger.handlers), logger.propagate, logger.disabled)
                    for name, logger in ours.items()},
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "environment": dict(os.environ),
        "standard error": os.fstat(2)[1:3],
        "sys.stderr": (sys.stderr, sys.stdout, sys.excepthook),
        "sys.meta_path": list(sys.meta_path),
        "working directory": os.getcwd(),
        "numpy errors": numpy.geterr(),
        "print options": numpy.get_printoptions(),
        "floatx": (keras.config.floatx(), keras.mixed_precision.dtype_policy().name, tf.config.functions_run_eagerly()),
    }


first = set(logging.root.manager.loggerDict)
before = process()

import tfpvae, importlib, pathlib
root = pathlib.Path(tfpvae.__file__).parent
for path in sorted(root.rglob("*.py")):
    parts = path.relative_to(root.parent).with_suffix("").parts
    if parts[1] not in ("_data", "__main__"):
        importlib.import_module(".".join(parts).removesuffix(".__init__"))

from tfpvae.cli import main
from tfpvae.export import exporter
small = "--epochs 1 --latent 2 --batch-size 1000"
assert main(f"train --data digits --out run {small}".split()) == 0
assert main("train --data nothing --out other".split()) == 1
every = exporter.endpoints
exporter.endpoints = lambda model: ({"decode": every(model)[0]["decode"]}, {})
vae = tfpvae.training.open_run("run").model()
profile = tfpvae.export.Profile(litert=True, float16="always", int8="always", samples=False)
version = tfpvae.export_model(vae, "models/digits", profile=profile).path
with tfpvae.server.running("models") as url:
    tfpvae.client.Client(url, "digits").decode(numpy.zeros([1, 2]))

after = process()
for key, was in before.items():
    now = after[key]
    if isinstance(was, dict):
        was, now = ({name: value for name, value in one.items() if other.get(name, one) != value}
                    for one, other in ((was, now), (now, was)))
    if was != now:
        print("CHANGED", key, was, now)
"""


@pytest.mark.slow
def test_nothing_that_belongs_to_the_process_stays_changed(tmp_path):
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert [line for line in finished.stdout.splitlines() if line.startswith("CHANGED")] == []
