"""Vision-language models behind one seam (`seam.py`), a backend for each file; `configure.py` chooses one for a site.

In: prompts with pictures. Out: what a model said, with log-probabilities where it gives them. They know no memory, no
device and no residency; `edge_node/think.py` asks them.

What has not been run with real weights: no vision-language model has answered a question here, since none can be had
without a download. `openai_compatible.py` was run against a local server that checks every request, and against
llama.cpp's own server with SmolLM2-135M, which takes no pictures: log-probabilities, JSON held to a schema, stop
strings and two-stage thinking are real there, pictures are not. No server of vLLM, SGLang, NIM or Ollama was asked.
Thresholds and calibration were fitted to made-up pairs only: until a fleet measures its own model, the gate uses
VideoAuto-R1's 0.97 and every confidence is capped and said to be uncalibrated. How much thinking that saves, and how
well a model answers, is therefore unknown.
"""
