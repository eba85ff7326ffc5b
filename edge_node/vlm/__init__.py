"""Vision-language models behind one seam (`seam.py`), a backend for each file.

In: prompts with pictures. Out: what a model said, with log-probabilities where it gives them. They know no memory, no
device and no residency; `edge_node/think.py` asks them.
"""
