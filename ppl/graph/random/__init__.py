"""Random nodes as estimators see them."""
