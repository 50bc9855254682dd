"""The report of a run: one page with its pictures, for people who look rather than read."""
