"""What models are built from: layers, initialisers, functions that NumPy lacks."""
