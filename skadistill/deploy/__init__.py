"""Before and after deployment: certificates, and cascades of student and teacher."""

from skadistill.deploy._cascade import Cascade
from skadistill.deploy._certificate import (
    Certificate,
    certify_accuracy,
    certify_agreement,
)

__all__ = ["Cascade", "Certificate", "certify_accuracy", "certify_agreement"]
