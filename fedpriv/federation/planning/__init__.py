"""What a run will do, at what price and against whom; nothing is spent here."""
