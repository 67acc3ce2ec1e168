"""Vigie's rooms: everything the console, its workers and the command line share. No Streamlit outside `app.ui`."""

VERSION = "0.2.0"
