"""Compression of pictures for vision-language models, after LongVU (arXiv:2410.17434; Vision-CAIR/LongVU @1b0be5c).

In: what encoders made of pictures, scores for a question, a token budget. Out, behind one seam (`seam.py`): an
`ImagePlan` for a model behind an API (`plan.py`), a `TokenMask` for one in process (`mask.py`). The stages:
`temporal.py`, `select.py`, `spatial.py`. Pure: it decodes nothing, encodes nothing and knows no model.
Next: `edge_node/think.py` and `edge_node/vlm/in_process.py`.
"""
