"""Small models as Python source: hand-written ones of the classes that went wrong before, and random ones.

`WRITTEN` maps "class/what" to a program's text.
"""

from tests.oracle.graphs import mixtures, plates, poles, steps, stopped
from tests.oracle.graphs.register import WRITTEN

__all__ = ["WRITTEN", "mixtures", "plates", "poles", "steps", "stopped"]
