"""Machine code on disk: where it lies, what it needs, and which versions of sources it was made from."""
