"""One self-contained HTML page.

`page.py` - report and charts as HTML
`explorer.py` - data of the explorer of examples
`page.html.j2`, `page.css`, `page.js` - the template, its style and script
"""
