"""What the author of a program needs to know: the endpoints, an example that can be copied, the address for MCP."""

from html import escape

from cilf.demo import texts

ENDPOINTS = (
    ("/predict", "photo, prompts", "every face of one photo"),
    ("/predict_set", "files", "the faces of several photos; a bad file gets a record with its reason"),
    ("/similarity", "photo, prompts, face=0", "how well texts fit one face"),
)


def programs(address: str, mcp: bool) -> str:
    """The card "For programs"; `address` is where the visitor found the page, as their browser says it."""
    rows = "".join(
        f'<tr><th scope="row"><code>{name}</code></th><td><code>{parameters}</code></td><td>{what}</td></tr>'
        for name, parameters, what in ENDPOINTS
    )
    example = f"""import json
from gradio_client import Client, handle_file

page = Client("{address}")
answer = page.predict(
    handle_file("family.jpg"),
    ["a child"],
    api_name="/predict",
)
for face in json.loads(answer):
    print(face["status"], face["age"])"""
    tools = (
        f'<p class="cilf-lead">Language models reach the same as tools (MCP, streamable HTTP) at '
        f"<code>{escape(address)}/gradio_api/mcp/</code></p>"
        if mcp
        else '<p class="cilf-lead">Started with <code>--mcp</code>, the page offers the same to language models as '
        "tools.</p>"
    )
    return f"""
<section class="cilf-card" aria-labelledby="cilf-programs">
  <h2 id="cilf-programs">For programs</h2>
  <p class="cilf-lead">{texts.PROGRAMS_LEAD}</p>
  <div class="cilf-wide" tabindex="0" role="region" aria-labelledby="cilf-programs">
  <table class="cilf-table cilf-words">
    <caption class="cilf-hidden">Endpoints</caption>
    <thead><tr><th scope="col">Endpoint</th><th scope="col">Parameters</th><th scope="col">Answers</th></tr></thead>
    <tbody>{rows}</tbody>
  </table></div>
  <pre class="cilf-code" tabindex="0" aria-label="Example in Python"><code>{escape(example)}</code></pre>
  {tools}
</section>"""
