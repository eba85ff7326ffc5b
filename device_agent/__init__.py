"""The app on a camera: capture -> look -> trigger -> report, with recorder and outbox beside.

In: packets of one camera. Out: events, answers about now, and clips when a question needs them. It listens on nothing:
it dials its site's NATS server, the edge for clips and, once, the cloud to join. Start reading at `pipeline.py`.
"""
