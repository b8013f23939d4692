"""`make demo`: the product's main job from end to end, on real sockets, told step by step.

Talks to the hub only as a customer would, over HTTP and the command line, and to the simulators as a witness.
"""
