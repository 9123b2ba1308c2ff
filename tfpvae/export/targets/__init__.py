"""The forms in which a version holds a model, one file a target."""
