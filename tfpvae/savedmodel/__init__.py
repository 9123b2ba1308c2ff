"""Reading SavedModels: their graphs without running them, TensorFlow's two loaders, and the linter."""
