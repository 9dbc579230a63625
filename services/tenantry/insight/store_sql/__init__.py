"""Insight's store on SQLite or PostgreSQL.

Ledger and traces share one database: nothing of a request waits for either, and a batch of spans holds SQLite's one writer
for some milliseconds, which the ledger, fed in the background too, can wait.
"""
