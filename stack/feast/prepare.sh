#!/bin/sh
# The sample data of all systems, their models and the applied feature repository, into VIGIE_HOME. What is there and
# up to date stays.
set -eu
# Four services read what this makes; those of the same group and no others.
umask 027
python -m stack.world
python -m stack.world.diabetes
python -m stack.world.f1pa
