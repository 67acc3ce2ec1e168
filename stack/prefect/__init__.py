"""The monthly comparison as a Prefect flow. The only part of the stack that imports the console's `app`."""
