"""Settings of all tests: the IR is verified after every pass of the compiler."""

import os

os.environ["PPL_VERIFY"] = "1"
