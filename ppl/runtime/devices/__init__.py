"""Programs on devices of their own memory."""
