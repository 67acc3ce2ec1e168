"""The seeded sample world: twelve months of a streaming service that loses some of its subscribers.

The story of 2024, month by month
---------------------------------
* **month_000** (31 January) is the month the churn model is trained on: 26.5 % of the accounts are lost.
* **month_001** (29 February): a player update makes playback stutter a little more (``rebuffer_events_7d``, mean
  2.3 to 2.6), people watch half an hour more, churn falls to 24.2 %. One feature of fourteen moves: no action.
* **month_002 to month_007**: ordinary months. Usage is new every month, its distribution is not.
* **month_008** (30 September), *the event*: prices rise for every household with internet, nearly half of them
  are moved to the new bundle "Duo" (TV and films), and the video servers do not keep up. ``monthly_fee``,
  ``plan_stream_tv``, ``plan_stream_movies``, ``watch_hours_30d``, ``skips_7d``, ``rebuffer_events_7d`` and
  ``support_tickets_90d`` move: seven of fourteen. Churn rises to 34.2 %.
* **month_009**: the incident goes on. **month_010**: the servers are repaired, rebuffering and skips are back to
  normal. **month_011** (31 December): half of the lost watching and of the complaints has come back; price and
  bundle stay. Its labels do not exist yet.

What is simple on purpose: the 7,043 accounts stay the same all year (a lost account is won back by the next
month), tenure and plan are those of the first month until the event, and an account without tickets has a
resolution time of 0.

Every draw is made from raw 64-bit words of a seeded generator and sums, products and ranks of them, so the values
do not depend on the version of a random distribution. The bytes of the files also depend on the libraries that
write them; ``world.json`` names those, and another version of one of them makes the world again.
"""
