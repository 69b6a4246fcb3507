"""Models with sites that are given values: observed (`ppl.condition`), or replaced and cut (`ppl.do`)."""
