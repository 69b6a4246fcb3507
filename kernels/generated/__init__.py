"""What `python -m ppl.kernels.source` makes for both precisions: change `kernels/source` instead."""
