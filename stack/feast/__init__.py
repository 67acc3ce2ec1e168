"""The feature repository of the StreamFlow sample: its definitions, and how a home gets a running copy of it."""
