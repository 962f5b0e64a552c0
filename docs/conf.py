"""Configuration of the documentation: guide, reference, gallery, measurements.

``make docs`` builds it with warnings as errors. It needs no network: names of other
packages are not linked.
"""

import html
import importlib
import importlib.util
import os
import re
import sys
from pathlib import Path

from docutils import nodes

import skadistill

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))
from changes import unreleased  # noqa: E402

MODULES = [
    f"skadistill.{path.parent.name}"
    for path in sorted(Path(skadistill.__file__).parent.glob("[!_]*/__init__.py"))
]

project = "skadistill"
version = release = skadistill.__version__
extensions = [
    "mathml",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "assembled", "changes", "**/GALLERY_HEADER.rst"]
templates_path = ["_templates"]
default_role = "literal"

html_theme = "pydata_sphinx_theme"
html_title = f"skadistill {release}"
html_favicon = "_static/logo.svg"
html_show_sourcelink = False
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["skadistill.css"]
html_extra_path = ["llms.txt"]
# Where the pages will be, for links that search engines follow.
html_baseurl = os.environ.get("DOCS_BASEURL", "")
html_theme_options = {
    "logo": {
        "text": "skadistill",
        "image_light": "_static/logo.svg",
        "image_dark": "_static/logo.svg",
    },
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "navbar_center": [],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"**": ["all_pages"]}
copyright = "the skadistill developers, BSD-3-Clause"

# Copied code runs: without prompts and output.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autosummary_generate = True
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False

# Every link into the package must resolve; others are not checked.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!skadistill).*")]

# Shown but not run if packages are missing.
CAN_EXPORT = all(map(importlib.util.find_spec, ("onnxruntime", "skl2onnx", "skops")))

sphinx_gallery_conf = {
    "filename_pattern": r"/plot_" if CAN_EXPORT else r"/plot_(?!10_export)",
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "within_subsection_order": "FileNameSortKey",
    "doc_module": ("skadistill",),
    "backreferences_dir": "reference/backreferences",
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 0,
    "write_computation_times": False,
    "capture_repr": (),
    "remove_config_comments": True,
    "default_thumb_file": str(HERE / "_static" / "prints_only.svg"),
}


def top_level_names():
    """Map names such as ``skadistill.StudentNet`` to the names on their pages."""
    documented = {}
    for module in map(importlib.import_module, MODULES):
        for name in module.__all__:
            if getattr(skadistill, name, None) is getattr(module, name):
                documented[f"skadistill.{name}"] = f"{module.__name__}.{name}"
    return documented


TOP_LEVEL = top_level_names()


def resolve_top_level(app, env, node, contnode):
    """Resolve a link such as ``skadistill.StudentNet`` to the documented name."""
    target, dot, member = node.get("reftarget", ""), "", ""
    if target not in TOP_LEVEL:
        target, dot, member = target.rpartition(".")
    if node.get("refdomain") != "py" or target not in TOP_LEVEL:
        return None
    return env.get_domain("py").resolve_xref(
        env,
        node["refdoc"],
        app.builder,
        node["reftype"],
        TOP_LEVEL[target] + dot + member,
        node,
        contnode,
    )


def skip_member(app, kind, name, obj, skip, options):
    """Skip members that are inherited from other packages."""
    home = getattr(getattr(obj, "fget", obj), "__module__", None) or "skadistill"
    # Documented by scikit-learn, also for classes that delegate it.
    if name == "get_metadata_routing":
        return True
    return skip or not home.startswith("skadistill")


def advanced_parameters(app, kind, name, obj, options, lines):
    """Show what a first fit does not need after the parameters, as "Advanced"."""
    heads = [i for i, line in enumerate(lines) if re.match(r"\S", line)]
    for start, end in zip(heads, [*heads[1:], len(lines)], strict=True):
        if lines[start] == ":Other Parameters:" and ":Attributes:" in lines:
            block = [":Advanced:", *lines[start + 1 : end]]
            del lines[start:end]
            at = lines.index(":Attributes:")
            lines[at:at] = block


def write(path, text):
    """Write a generated page if its content changed."""
    path.parent.mkdir(exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf8") != text:
        path.write_text(text, encoding="utf8")


def assemble(app):
    """Collect the fragments of the changelog, and the measurements."""
    write(HERE / "assembled" / "changes.rst", unreleased(HERE / "changes"))
    for path in sorted((HERE.parent / "benchmarks" / "results").glob("*.md")):
        text = path.read_text(encoding="utf8")
        # A number stays on one line with its interval; wide tables scroll.
        text = text.replace(" \N{PLUS-MINUS SIGN} ", "\xa0\N{PLUS-MINUS SIGN}\xa0")
        write(HERE / "results" / path.name, text)


def number_examples(app, docname, source):
    """Put the number of an example's file before its title."""
    if docname == "auto_examples/index":
        source[0] = re.sub(
            r"(:doc:`/auto_examples/plot_0*(\w+?)_.*?thumbnail-title\">)",
            r"\1\2. ",
            source[0],
            flags=re.DOTALL,
        )
    elif match := re.fullmatch(r"auto_examples/plot_0*(\w+?)_\w+", docname):
        # The title is the first line that is underlined; its line grows as well.
        source[0] = re.sub(
            r"^(\S.*)\n(==+)$",
            rf"{match[1]}. \1\n\2=====",
            source[0],
            count=1,
            flags=re.M,
        )


def describe(app, pagename, templatename, context, doctree):
    """Describe a page to search engines by its first paragraph."""
    for paragraph in doctree.findall(nodes.paragraph) if doctree else ():
        text = " ".join(paragraph.astext().split())
        # Not the notes of the gallery, nor lists of links.
        if len(text) > 40 and not isinstance(paragraph.parent, nodes.Admonition):
            short = text if len(text) <= 160 else text[:157].rsplit(" ", 1)[0] + " ..."
            context["metatags"] += (
                f'<meta name="description" content="{html.escape(short)}" />'
            )
            return


def setup(app):
    """Register the steps above."""
    # Before the gallery, whose pages may refer to what is assembled.
    app.connect("builder-inited", assemble, priority=100)
    app.connect("autodoc-skip-member", skip_member)
    # After numpydoc, which writes the headings.
    app.connect("autodoc-process-docstring", advanced_parameters, priority=900)
    app.connect("source-read", number_examples)
    app.connect("html-page-context", describe)
    app.connect("missing-reference", resolve_top_level)
