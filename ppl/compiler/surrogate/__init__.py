"""The second stage: a trace and its plan become plain expressions for loss, gradients and samples."""
