"""Training: `ppl.fit`, its loops, batches and checkpoints, and the optimizers."""
