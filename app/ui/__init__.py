"""The only helper room with Streamlit: caches, widgets, palette."""
