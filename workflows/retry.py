"""The named retry policies, and how long each kind of activity may take."""

from datetime import timedelta

from temporalio.common import RetryPolicy

LOCAL_PATIENCE = timedelta(seconds=3)
"""How long a step is tried inside the workflow task before it becomes a regular activity."""

ACTIVITY_TIME = timedelta(seconds=30)
"""One attempt of a short activity."""

NODE_TIME = timedelta(seconds=10)
"""One attempt at a node; a node that vanished is asked again after this."""

SEARCH_TIME = timedelta(hours=2)
"""One attempt of a search of the whole ledger; it says every page that it goes on."""

BEYOND_PATIENCE = timedelta(seconds=5)
"""After an attempt of a leg should have given up by itself: then its worker is gone, and it is tried again."""

QUICK = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=1), maximum_attempts=5
)
"""For local activities: the fifth attempt begins 2.4 s after the first. Only their number ends attempts that fail at
once: `LOCAL_PATIENCE` as schedule-to-close timeout ends one that hangs, and does not count them together (measured)."""

UNTIL_DONE = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=5))
"""For what must happen once its server is back: 5 s is how long after that it may take."""

ONCE = RetryPolicy(maximum_attempts=1)
"""For what the workflow itself repeats, because it must know whether an attempt may have happened."""

LONGEST_PAUSE = timedelta(minutes=10)
"""Between two attempts at a node that answers, but fails."""

CROWDED_PAUSE = timedelta(seconds=10)
"""Before a workflow that has more signals than one run may have is told again."""

PATIENTLY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=LONGEST_PAUSE)
"""For what is long, and fails as a whole for a part of it."""
