"""What a client puts into a round: sums of records' gradients, several noisy steps, or a whole update."""
