"""`python -m pysplitcodec` is `splitcodec`."""

from pysplitcodec.cli import main

main()
