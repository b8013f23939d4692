"""Bulk: files of recipients and of suppressions, row by row, with what was refused beside them, and again from where it
stopped.

Owns no tables: what it stores goes through identity's intake and consent's record; where it is stands in a file beside
the input.
"""
