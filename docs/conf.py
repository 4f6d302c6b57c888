"""The documentation site: ``make docs`` builds it into ``site/``, without a network.

The source folder is that of the repository, so that links between ``docs/``, ``notebooks/`` and the
README mean the same here as in a viewer of Markdown.
"""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))

project = "pyro-models"
author = "the authors of pyro-models"
project_copyright = author
version = release = installed_version("pyro-models")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "myst_nb",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinx-mathjax-offline",
    "command_lines",
    "docstrings",
    "references",
    "repository",
]

root_doc = "docs/index"
include_patterns = ["docs/**.md", "docs/**.rst", "notebooks/*.ipynb", "notebooks/README.md"]
exclude_patterns = [
    ".*",
    "site",
    "runs",
    "report",
    "results",
    "data",
    "build",
    "dist",
    "pyro_models",
    "inference",
    "gp_bo",
    "tests",
]

# Pages and notebooks
myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # what a notebook shows is what was stored when it was run
nb_merge_streams = True
highlight_language = "none"  # blocks say theirs; without one they are output, or a command line
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Reference
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
python_display_short_literal_types = True
napoleon_google_docstring = True  # commands of the command line are written so
napoleon_use_rtype = False
napoleon_use_ivar = True
autosummary_generate = False
nitpicky = True
suppress_warnings = ["ref.python"]  # a bare name, as of a field, may be that of several classes
nitpick_ignore_regex = [
    # Other projects: their inventories are on the network, and the site is built without one.
    (
        r"py:.*",
        r"(torch|pyro|gpytorch|linear_operator|botorch|numpy|np|pandas|pd|matplotlib|arviz|"
        r"jsonargparse|zuko|nn|dist|collections|typing|pathlib|contextlib|abc|os|re|types)\..*",
    ),
    # Their names as a module here imports them; Place stands for a Matplotlib axes or grid.
    (
        r"py:class",
        r"(Tensor|TorchDistribution|Figure|Axes|Path|DataFrame|ndarray|NDArray|Module|"
        r"Any|Place|Callable|Sequence|Mapping|Iterable|Iterator|Collection|Literal|Self|TypeVar|optional)",
    ),
    (r"py:class", r"'.*'"),  # a value of a Literal
    (r"py:class", r"True|False|n_features_in"),  # words of scikit-learn's signatures
    # Variables of types: they name nothing that has a place in the reference.
    (r"py:(class|obj)", r".*\.?[A-Z]"),
]

# Page
html_theme = "furo"
html_title = "pyro-models"
templates_path = ["templates"]
html_additional_pages = {"index": "start.html"}  # site/index.html leads to the start page
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"code-font-size": "76%"},  # lines of 100 characters fit
}

# Equations, by MathJax of the site itself
mathjax3_config = {
    "tex": {
        "macros": {
            "E": r"\mathbb{E}",
            "N": r"\mathcal{N}",
            "KL": r"\mathrm{KL}",
            "JS": r"\mathrm{JS}",
            "diag": r"\operatorname{diag}",
        }
    }
}
