"""The same models in other frameworks. These files import nothing of ppl, and nothing in ppl imports them."""
