"""`ppl.sweep`: a program trained under many settings, in processes of one machine or of a cluster, and resumed."""
