"""What F1PA's document imports from its monitoring folder."""
