"""Traffic: what to send (plan, payload), sending it (connection, engine), what came of it (stats, counting, result).

`plan`, `payload`, `stats` and `result` are pure and light; `engine` and `worker` run in their own process.
"""
