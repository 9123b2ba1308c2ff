"""Training runs, each in a directory of its own, that can be resumed and are not overwritten by accident.

Importing this package loads no TensorFlow: settings and run directories can be checked without it.
"""

from typing import TYPE_CHECKING

from tfpvae._lazy import lazy_names

if TYPE_CHECKING:
    from tfpvae.training.adam import FusedAdam
    from tfpvae.training.callbacks import CollapseAlarm, LogMarginalEstimate, SamplePictures
    from tfpvae.training.choices import choose
    from tfpvae.training.config import TrainConfig
    from tfpvae.training.evaluation import evaluate
    from tfpvae.training.progress import Progress
    from tfpvae.training.refining import refine
    from tfpvae.training.run import Run, open_run
    from tfpvae.training.trainer import train

__all__ = [
    "CollapseAlarm",
    "FusedAdam",
    "LogMarginalEstimate",
    "Progress",
    "Run",
    "SamplePictures",
    "TrainConfig",
    "choose",
    "evaluate",
    "open_run",
    "refine",
    "train",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "tfpvae.training.adam": ("FusedAdam",),
        "tfpvae.training.callbacks": ("CollapseAlarm", "LogMarginalEstimate", "SamplePictures"),
        "tfpvae.training.choices": ("choose",),
        "tfpvae.training.config": ("TrainConfig",),
        "tfpvae.training.evaluation": ("evaluate",),
        "tfpvae.training.progress": ("Progress",),
        "tfpvae.training.refining": ("refine",),
        "tfpvae.training.run": ("Run", "open_run"),
        "tfpvae.training.trainer": ("train",),
    },
)
