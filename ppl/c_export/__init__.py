"""Programs as C functions, with headers that describe them."""
