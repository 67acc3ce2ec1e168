"""Notifications: commands and URLs of a system file that are told of a decision, after it was made and written down.

Whoever ran a comparison (job host, command line, Prefect flow) calls its hooks once, in a process of their own
(`python -m app.notify RUN`) whose standard input it holds: when the owner ends, however it ends, so do its hooks. A
hook changes no decision; how it fared goes into the ledger. Nothing is called for other policies than the system's
own, for captured requests and for what-if.
"""
