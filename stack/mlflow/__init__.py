"""The model registry of the full stack: putting the churn model into it (register.py)."""
