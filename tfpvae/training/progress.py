"""The progress of training: a line for each epoch, with a bar on a terminal."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

import keras

WIDTH = 24
REDRAW_SECONDS = 0.1
LINE_SECONDS = 2.0
MANY = 1000
"""Of so many epochs a line is left every `LINE_SECONDS`, and of fewer one for each."""


class Progress(keras.callbacks.Callback):
    """Shows the bound during training, in lines of less than 80 columns.

    On a terminal it redraws the line of the current epoch with a bar; elsewhere it writes one line at the end of an
    epoch. Where training has no last epoch but ends when it no longer pays, it writes a line every two seconds.

    Args:
        out: where to write; None is the standard output of the moment.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        super().__init__()
        self.out = out or sys.stdout
        self.live = self.out.isatty()
        self.epoch = 0
        self.drawn = self.started = self.written = 0.0
        self.pending = ""

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
        held_out = f"   held out {logs['val_elbo']:9.2f}" if "val_elbo" in logs else ""
        line = f"{self._head()} elbo {logs['elbo']:9.2f}{held_out}   kl {logs['kl']:6.2f}"
        line += f"   {time.monotonic() - self.started:5.1f} s"
        self.pending = f"{line}\n"
        now = time.monotonic()
        if self._total() < MANY or now - self.written >= LINE_SECONDS:
            self.written = now
            self._write_pending()
        elif self.live:
            self.out.write(f"\r{line}")
            self.out.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        del logs
        self._write_pending()

    def _write_pending(self) -> None:
        if self.pending:
            self.out.write(("\r" if self.live else "") + self.pending)
            self.out.flush()
        self.pending = ""

    def _total(self) -> int:
        return int(self.params.get("epochs") or 0)

    def _head(self) -> str:
        total = self._total()
        return f"epoch {self.epoch + 1:>{len(str(total))}}/{total}" if total < MANY else f"epoch {self.epoch + 1:>4}"
