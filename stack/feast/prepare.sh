#!/bin/sh
# The sample data of all systems and their models into VIGIE_HOME, StreamFlow's months into PostgreSQL, and over them the
# applied feature repository (FEAST_REPO). What is there and up to date stays.
set -eu
# Four services read what this makes; those of the same group and no others.
umask 027
python -m stack.world --no-feast
python -m stack.ingest --sample --to postgres
python -m stack.world.diabetes
python -m stack.world.f1pa
