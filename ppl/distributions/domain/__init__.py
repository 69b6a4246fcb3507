"""Sets and conditions: supports, bounds of expressions, checks of parameters and of what is observed."""
