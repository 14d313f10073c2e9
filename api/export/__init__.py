"""All of an experiment in one file, which needs no Hubel to be read."""
