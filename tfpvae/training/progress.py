"""The progress of training: a line for each epoch, with a bar on a terminal."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

import keras

WIDTH = 24
REDRAW_SECONDS = 0.1


class Progress(keras.callbacks.Callback):
    """Shows the bound during training, in lines of less than 80 columns.

    On a terminal it redraws the line of the current epoch with a bar; elsewhere it writes one line at the end of an
    epoch.

    Args:
        out: where to write; None is the standard output of the moment.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        super().__init__()
        self.out = out or sys.stdout
        self.live = self.out.isatty()
        self.epoch = 0
        self.drawn = self.started = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        del logs
        self.epoch = epoch
        self.started = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        now = time.monotonic()
        if not self.live or now - self.drawn < REDRAW_SECONDS:
            return
        self.drawn = now
        steps = self.params.get("steps") or 0
        done = round(WIDTH * (batch + 1) / steps) if steps else 0
        bar = f"[{'=' * done}{'.' * (WIDTH - done)}]"
        self.out.write(f"\r{self._head()} {bar} elbo {float((logs or {})['elbo']):9.2f}")
        self.out.flush()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        test = f"   test elbo {logs['val_elbo']:9.2f}" if "val_elbo" in logs else ""
        line = f"{self._head()} elbo {logs['elbo']:9.2f}{test}   kl {logs['kl']:6.2f}"
        start = "\r" if self.live else ""
        self.out.write(f"{start}{line}   {time.monotonic() - self.started:5.1f} s\n")
        self.out.flush()

    def _head(self) -> str:
        total = self.params.get("epochs", 0)
        return f"epoch {self.epoch + 1:>{len(str(total))}}/{total}"
