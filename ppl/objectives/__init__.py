"""What is minimised: expected cost, evidence bounds, likelihoods, noise-contrastive estimation."""
