"""Our labels beside those of the programs that the models come from."""
