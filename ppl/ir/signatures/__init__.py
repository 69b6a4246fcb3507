"""Shape rules of many ops: how they are registered, those of common signatures, and those of lowered ops."""
