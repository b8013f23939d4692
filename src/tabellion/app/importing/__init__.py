"""Bulk: files of recipients brought in row by row, with what was refused beside them, and again from where it stopped.

Owns no tables: what it stores goes through recipients' own upsert, and where it is stands in a file beside the input.
"""
