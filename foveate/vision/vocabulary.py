"""The 80 names that the embedded detector can say, in the order of its score channels (COCO 2017).

In: nothing. Out: `COCO`. It imports nothing, so that the pure half of the router can ask what the eye has words for.
Next: `detect.py`.
"""

from __future__ import annotations

# Lin et al., Microsoft COCO, 2014, https://cocodataset.org: the 80 detection classes in channel order.
_NAMES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light,
fire hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow,
elephant, bear, zebra, giraffe, backpack, umbrella, handbag, tie, suitcase,
frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard,
surfboard, tennis racket,
bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple,
sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch,
potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard,
cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase,
scissors, teddy bear, hair drier, toothbrush
"""

COCO: tuple[str, ...] = tuple(name.strip() for name in _NAMES.split(","))
"""Every name once, in channel order."""
