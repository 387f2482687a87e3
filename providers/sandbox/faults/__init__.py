"""
The faults that can be switched on at run time: which there are, what each is told, and which strike a call.

A fault is asked for as JSON over the control server; nothing here touches a socket. Each rule names the page on which
the behaviour is documented, or says that it is invented.
"""

from providers.sandbox.faults.jobs import PartsForm
from providers.sandbox.faults.masks import MaskForm
from providers.sandbox.faults.reading import RULES, Fault, Steps, describe, find, read_faults
from providers.sandbox.faults.rules import Kind, Stage

__all__ = ["RULES", "Fault", "Kind", "MaskForm", "PartsForm", "Stage", "Steps", "describe", "find", "read_faults"]
