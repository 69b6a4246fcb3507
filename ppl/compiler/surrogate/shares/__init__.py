"""Programs whose rows or particles are shared out among processes: what of their results may be added up, and how."""
