"""The way in for questions: understand -> place -> settle.

A question in plain English comes in; a plan, steps, partial answers and a record go out. What decides
(`understand`, `place`, `settle` and what they read) does no input or output; `serve` and `dispatch` do.
It knows no pixels and no models. `pipeline` is next.
"""
