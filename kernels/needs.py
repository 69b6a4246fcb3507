"""`restore`, by the name under which machine code that Numba has cached for users' functions refers to it.

An import that fails would reach the user; a requirement that is out of date only makes Numba compile again.
"""

from ppl.kernels.code_cache.machine_code import restore_requirement as restore

__all__ = ["restore"]
