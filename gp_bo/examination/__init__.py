"""Copenhagen's examination in function fitting: what it asks for, done with the library.

Nothing else in ``gp_bo`` imports this package but the table of commands.
"""

from gp_bo.examination.algorithm1 import Algorithm1, algorithm1, exam_grid, shares, success
from gp_bo.examination.algorithm1_figure import algorithm1_figure
from gp_bo.examination.sheet import exam_data, exam_function, exam_priors, fit_exam

__all__ = [
    "Algorithm1",
    "algorithm1",
    "algorithm1_figure",
    "exam_data",
    "exam_function",
    "exam_grid",
    "exam_priors",
    "fit_exam",
    "shares",
    "success",
]
