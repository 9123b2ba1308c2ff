"""Training runs in directories of their own: configured, resumable, never overwritten by accident."""

from tfpvae.training.adam import FusedAdam
from tfpvae.training.callbacks import CollapseAlarm, LogMarginalEstimate, SamplePictures
from tfpvae.training.config import TrainConfig
from tfpvae.training.progress import Progress
from tfpvae.training.run import Run, open_run
from tfpvae.training.train import evaluate, train

__all__ = [
    "CollapseAlarm",
    "FusedAdam",
    "LogMarginalEstimate",
    "Progress",
    "Run",
    "SamplePictures",
    "TrainConfig",
    "evaluate",
    "open_run",
    "train",
]
