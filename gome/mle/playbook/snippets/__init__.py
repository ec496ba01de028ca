"""Functions and classes that rendered solutions are composed of.

These modules are read as text: the renderer copies into a solution what the solution uses, with what that
uses in turn. They are ordinary Python, so that they are linted, typed and tested like the rest.
"""
