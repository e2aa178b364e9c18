"""What `splitcodec info` and `splitcodec bench` say and measure.

machine: this installation; timing: medians and memory speed; kernels and coders: ours beside what
people use today, the peers, each verified before it is timed.
"""
