"""How fast and how large: each module is a suite, one part of the library measured beside an alternative.

A suite offers `rows(size)`, an iterator over the rows of its table, and the sizes `FULL`, whose numbers mean
something, and `TINY`, which shows in seconds that it runs. Modules whose names begin with _ are no suites.
"""
