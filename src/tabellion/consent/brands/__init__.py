"""Brands: in whose name a side writes.

Table: `brands`. A side always has a default brand: the row that says so, else `default`, named after the workspace.
Audited: `brand.set`, `brand.deleted`.
"""
