"""What targets want whose threads share loops: fewer values in memory, sums over rows apart, few launches."""
