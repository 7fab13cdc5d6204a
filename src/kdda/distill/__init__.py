"""Distillation: teachers, their states, the loss, and the fine-tuning that listens to them."""

from kdda.distill.cache import free_bytes
from kdda.distill.finetune import Job, Store, Student, fine_tune, scores_by_language
from kdda.distill.layers import check_attended
from kdda.distill.loss import WIDTHS_MAY_DIFFER, DistillationLoss, check_distill
from kdda.distill.probe import Listening, Measured, Probe, bytes_a_second
from kdda.distill.teachers import Lessons, Teacher, fingerprint, is_ready, prepare_teacher

__all__ = [
    "WIDTHS_MAY_DIFFER",
    "DistillationLoss",
    "Job",
    "Lessons",
    "Listening",
    "Measured",
    "Probe",
    "Store",
    "Student",
    "Teacher",
    "bytes_a_second",
    "check_attended",
    "check_distill",
    "fine_tune",
    "fingerprint",
    "free_bytes",
    "is_ready",
    "prepare_teacher",
    "scores_by_language",
]
