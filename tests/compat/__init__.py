"""Files that an earlier version has written, and the model that they belong to."""
