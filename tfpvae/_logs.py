"""What other packages log for nobody's use."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def log_level(logger: logging.Logger, level: int) -> Iterator[None]:
    """The logger has this level within the block."""
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
