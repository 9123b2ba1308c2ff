"""What the tests of the command line share."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def process_settings() -> Callable[[], dict[str, Any]]:
    """`process_settings()`: the settings of the process that a command may change while it runs."""

    def settings() -> dict[str, Any]:
        stderr = os.fstat(2)
        loggers = [logging.getLogger(name) for name in ("root", "tf2onnx", "uvicorn.error", "uvicorn.access")]
        return {
            "warnings": warnings.formatwarning,
            "environment": dict(os.environ),
            "file descriptor 2": (stderr.st_dev, stderr.st_ino),
            "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
            "loggers": [(logger.level, list(logger.handlers), logger.propagate) for logger in loggers],
        }

    return settings
