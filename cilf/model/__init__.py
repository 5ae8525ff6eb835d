"""The networks and what each is made of, the error correction, and the runtime that computes them."""
