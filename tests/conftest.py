"""Settings for every test."""

import signal

from hypothesis import settings

# No test asserts how long something takes: on a machine under load that says nothing of the code.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")

# Started in the background of a shell, Ctrl-C is ignored, and children that tests interrupt would ignore it too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
