"""The edge node of a site: 5 receive -> 6 remember -> 7 answer, and `egress.py`, the one way out.

In: events and heartbeats of the site's devices, questions from the router and from people on site. Out: answers with
evidence, clips, and what residency lets go to the cloud. It knows neither router nor cloud beyond their addresses.
"""
