"""A run: its configuration, its plan, its rounds, and what it leaves behind."""
