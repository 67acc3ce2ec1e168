"""Scripts to be run in the container."""
