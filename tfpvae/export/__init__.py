"""From a trained model to a version directory that TensorFlow Serving and ONNX Runtime can use.

Importing this package loads no TensorFlow: a host that serves models lists, labels and checks versions without it.
"""

from typing import TYPE_CHECKING

from tfpvae._lazy import lazy_names

if TYPE_CHECKING:
    from tfpvae.export.exporter import Export, export_model
    from tfpvae.export.profile import Profile
    from tfpvae.export.repository.layouts import export_layout
    from tfpvae.export.targets.base import Target, Task, register_target
    from tfpvae.export.verification import verify

__all__ = ["Export", "Profile", "Target", "Task", "export_layout", "export_model", "register_target", "verify"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "tfpvae.export.exporter": ("Export", "export_model"),
        "tfpvae.export.profile": ("Profile",),
        "tfpvae.export.repository.layouts": ("export_layout",),
        "tfpvae.export.targets.base": ("Target", "Task", "register_target"),
        "tfpvae.export.verification": ("verify",),
    },
)
