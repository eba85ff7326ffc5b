"""The cloud tier: keeps the fleet's registry, ingests what sites let out, and answers over all of them.

Steps 11 ingest and 12 reason of the design; `pipeline.py` reads as the whole sentence.
"""
