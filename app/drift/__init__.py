"""Two periods of data to one decision: gate, compare, decide, result; the worker runs them."""
