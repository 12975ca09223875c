"""Commands that have a file of their own. Importing one loads click and nothing else."""
