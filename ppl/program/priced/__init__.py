"""What steps of a program take, by its schedule, and the number of particles that is chosen by it."""
