"""May they ask now?"""

from gateway.admission.gate import Gate

__all__ = ["Gate"]
