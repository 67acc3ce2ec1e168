"""The words of screen and command line: every form of a number once, and the explanations next to the numbers."""
