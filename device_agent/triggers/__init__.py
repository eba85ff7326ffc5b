"""Step 3, triggers: which moments matter. Each trigger is a small class of its own behind `all.py`.

In: views, stretches of sound, presses and sentences. Out: `Event` revisions. Pure: ids, times and vectors are handed
in; nothing here reads a clock, a picture or the network. Next: `report.py`.
"""
