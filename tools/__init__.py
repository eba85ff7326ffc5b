"""Builders of what `foveate/weights` carries, and the fit of its confidence; no part of the installed package.

In: named archives and the caller's pictures. Out: files, and constants to be put into code by hand. `README.md`
says which archive each takes, and what was checked of each.
"""
