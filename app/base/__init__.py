"""The ground floor, on the standard library alone: processes, files, the home directory, logs, plain text, memory.

`stack` uses this room too and runs before the environment with the libraries exists, so nothing here imports
anything else of `app`, and nothing outside the standard library.
"""
