"""The embedded stack: environment, binaries and the supervisor of the services that the console watches.

The modules at this level use the standard library alone, because they run before the environment exists.
`stack/__main__.py` and this file parse on Python 3.8, so that an old interpreter gets a sentence, not a traceback.
"""
