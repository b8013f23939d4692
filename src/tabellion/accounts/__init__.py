"""Accounts: configured vendor accounts, their sealed settings and their pace.

Owns `accounts` and `account_pacing`. Appends no events; every change is in the audit table. Secrets are sealed with
the workspace side's `secrets` key and bound to the host they are for.
"""
