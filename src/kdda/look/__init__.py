"""Looking at what was learned: the plan between two models' tokens, and pictures of run folders."""

from kdda.look.plan import Plan, Reader, plan_between
from kdda.look.plot import Sentence, plot_all

__all__ = ["Plan", "Reader", "Sentence", "plan_between", "plot_all"]
