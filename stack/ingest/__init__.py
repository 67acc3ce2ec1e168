"""One month of StreamFlow's tables, as CSV files in a folder, into the sample world or a PostgreSQL database.

Everything is read and checked before anything is written; a month is written whole or not at all, and the same month
twice leaves the same state.
"""
