"""Kinds of cameras: files, network and V4L2 cameras, folders of pictures.

In: a source. Out: `Packet`s with their times. `capture.py` chooses among them and is what the rest imports.
"""
