"""A run of the same mechanism with canaries in it, to see whether its claim can be refuted."""
