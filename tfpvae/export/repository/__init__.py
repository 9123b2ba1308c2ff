"""A repository of versions on disk: numbering and publishing, hashes, labels. Loads no TensorFlow, except `layouts`."""

from typing import Final

LAYOUTS: Final = ("openvino", "triton")
"""The servers without signatures that `tfpvae.export.export_layout` writes model repositories for."""
