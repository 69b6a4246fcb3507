"""Loops and calls for the CPU: filling noise, matrix products, threads, optimizer updates."""
