"""Turn formulas into MathML when pages are built.

Browsers draw MathML themselves, so that a page needs no script from elsewhere and can
be read without network.
"""

from docutils.nodes import SkipNode
from latex2mathml.converter import convert


def visit_inline(translator, node):
    """Write a formula within a line."""
    translator.body.append(convert(node.astext()))
    raise SkipNode


def visit_block(translator, node):
    """Write a formula that stands alone; wide ones scroll."""
    formula = convert(node.astext(), display="block")
    translator.body.append(f'<div class="formula">{formula}</div>')
    raise SkipNode


def setup(app):
    """Register the renderer under the name that conf.py sets."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
