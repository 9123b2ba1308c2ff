"""Data sets and files of images, as NumPy arrays and as `tf.data`.

`load` reads a data set by name, an array file or a folder of images into an `ImageData`. `train_dataset` and
`test_dataset` turn its arrays into batches, and binarise them if the likelihood needs it.

[BGS16] Burda, Grosse, Salakhutdinov: Importance weighted autoencoders. ICLR 2016.
"""

from tfpvae.data.binarize import Binarize, default_binarize, is_binary
from tfpvae.data.images import ImageData, check_images
from tfpvae.data.named import DATA_SETS
from tfpvae.data.pipeline import test_dataset, train_dataset
from tfpvae.data.sources import check_source, load

__all__ = [
    "DATA_SETS",
    "Binarize",
    "ImageData",
    "check_images",
    "check_source",
    "default_binarize",
    "is_binary",
    "load",
    "test_dataset",
    "train_dataset",
]
