"""The PostgreSQL of the full stack: where it is (POSTGRES_*), and one way to talk to it."""
