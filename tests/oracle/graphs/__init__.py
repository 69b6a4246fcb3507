"""Small models as Python source: hand-written ones of the classes that went wrong before, and random ones."""
