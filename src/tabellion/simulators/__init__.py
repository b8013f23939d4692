"""Vendors of our own making: each validates requests by rules written from its vendor's documentation, answers in the
vendor's shape and posts signed callbacks. All HTTP ones share one port under `/sim/{provider}/…`.

They import `core` only, so that an adapter's mistake is not repeated here. They keep everything in memory, bounded.
"""
