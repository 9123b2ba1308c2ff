"""A repository of versions on disk: numbering and publishing, hashes, labels. Loads no TensorFlow, except `layouts`."""
