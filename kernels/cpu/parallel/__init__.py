"""Work on several threads: which may run, regions that they run, and slabs of rows."""
