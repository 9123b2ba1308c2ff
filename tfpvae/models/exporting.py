"""Keras's own verb for exports, as a method of every model."""

from __future__ import annotations

import os
from typing import Any

import tfpvae
from tfpvae.errors import ExportError
from tfpvae.files import local_path


class Exportable:
    """A model that `tfpvae.export_model` writes: a base of each, before `keras.Model`."""

    def export(
        self: Any,
        filepath: str | os.PathLike[str],
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Writes the model as a version directory, as `tfpvae.export_model` does, which this calls.

        ```python
        vae.export("models/digits")    # The next free version of it: models/digits/1
        vae.export("models/digits/3")  # Version 3.
        ```

        Args:
            filepath: the model's directory; or, where the last part is a number, that of the version in it.
            format: "tf_saved_model" alone: a version holds a SavedModel, and ONNX graphs beside it. A profile says
                which of the two, `profile=Profile(onnx=False)`.
            verbose: whether to print the steps; None is False.
            input_signature: none: a model has the signatures of `tfpvae.signatures`.
            **kwargs: those of `tfpvae.export_model`: `version`, `profile`, `about`, `metrics`, `progress`.

        Returns:
            What was written, a `tfpvae.export.Export`.

        Raises:
            ExportError: another format or a signature was asked for, or what `tfpvae.export_model` refuses.
        """
        if format != "tf_saved_model":
            raise ExportError(
                'format must be "tf_saved_model": a version holds a SavedModel with ONNX graphs beside it; see '
                f"tfpvae.export.Profile for one of them alone. Received: format={format!r}"
            )
        if input_signature is not None:
            raise ExportError(
                "input_signature must be left out: a model is exported with the signatures of tfpvae.signatures. "
                f"Received: input_signature={input_signature!r}"
            )
        directory = local_path(filepath, ExportError)
        if kwargs.get("version") is None and directory.name.isascii() and directory.name.isdigit():
            directory, kwargs["version"] = directory.parent, int(directory.name)
        if verbose:
            kwargs.setdefault("progress", print)
        # By its public name: models may not import tfpvae.export, which is made of them.
        return tfpvae.export_model(self, directory, **kwargs)
