"""What a payment and a refund mean for a wallet: the one place that decides it.

Confirming, every webhook and any later repair hand the facts they have to these commands. An
effect is named after its cause (`payment:pi_…`), not after the message that told of it, so it
does not matter who tells first, or how often.
"""

from credit_payments.settlement.customers import ReportCustomer
from credit_payments.settlement.outcomes import Messenger, Outcome, Settlement
from credit_payments.settlement.payments import ReportPayment
from credit_payments.settlement.reversals import ReportDispute, ReportRefund
from credit_payments.settlement.warnings import ReportFraudWarning

__all__ = [
    "Messenger",
    "Outcome",
    "ReportCustomer",
    "ReportDispute",
    "ReportFraudWarning",
    "ReportPayment",
    "ReportRefund",
    "Settlement",
]
