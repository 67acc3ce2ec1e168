"""Reports for a person to hand in: what was measured, each number with its origin, and nothing left to fill in.

`document` is a report before it is written; `asking` is what its parts ask; `write` makes Markdown, one HTML and a ZIP.
"""
