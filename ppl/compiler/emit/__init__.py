"""The last stage: a schedule as source; what targets share, and a folder for each target."""
