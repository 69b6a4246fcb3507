"""Messages of other packages in ours."""

import pytest

from ppl.errors import uncoloured


@pytest.mark.tiny
def test_messages_of_numba_lose_their_colours():
    colorama = "\x1b[1m\x1b[31mUnknown attribute\x1b[0m 'x[0m' of type float64"
    assert uncoloured(ValueError(colorama)) == "Unknown attribute 'x[0m' of type float64"
