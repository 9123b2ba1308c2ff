"""From a trained model to a version directory that TensorFlow Serving and ONNX Runtime can use."""

from tfpvae.export.exporter import Export, export_model
from tfpvae.export.layouts import export_layout
from tfpvae.export.profile import Profile

__all__ = ["Export", "Profile", "export_layout", "export_model"]
