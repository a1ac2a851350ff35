"""The private mean of vectors that four nodes hold, as a Flower app."""
