"""Notifications: commands and URLs of a system file, called after a decision was saved.

Anyone who ran a comparison (job host, command line, Prefect flow) calls its hooks once, in a separate process
(`python -m app.notify RUN`) whose standard input it holds: when the owner ends, so do its hooks, in every case. A
hook changes no decision; how it ended goes into the ledger. Nothing is called for other policies than the system's
own, for captured requests and for what-if.
"""
