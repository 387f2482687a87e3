"""May they ask now?"""

from gateway.admission.account import rule_of
from gateway.admission.gate import Gate
from gateway.admission.limits import Admission, Limits

__all__ = ["Admission", "Gate", "Limits", "rule_of"]
