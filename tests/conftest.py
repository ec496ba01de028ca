"""Settings for every test."""

from hypothesis import settings

# No test asserts how long something takes: on a machine under load that says nothing of the code.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # started in the background: children would ignore Ctrl-C too
    signal.signal(signal.SIGINT, signal.default_int_handler)
