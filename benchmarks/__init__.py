"""How fast, how large and how good: each module is a suite, a part of the library beside an alternative.

A suite offers `rows(size)`, an iterator over the rows of its table, and the sizes `FULL`, whose numbers mean
something, and `TINY`, which shows in seconds that it runs. One that takes hours says `HOURS = True`. Modules
whose names begin with _ are no suites.
"""
