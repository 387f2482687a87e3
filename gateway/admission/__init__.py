"""May they ask now?"""

from gateway.admission.account import rule_of
from gateway.admission.bytes_in_flight import BytesInFlight, Hold
from gateway.admission.gate import Gate
from gateway.admission.limits import Admission, Limits

__all__ = ["Admission", "BytesInFlight", "Gate", "Hold", "Limits", "rule_of"]
