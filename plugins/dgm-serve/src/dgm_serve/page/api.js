// Questions to the server. An answer that is an error is thrown, with its two lines.

const refused = ({ error, hint = "" }) => Object.assign(new Error(error), { hint });

async function ask(path, body, signal) {
  const post = body && { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  const answer = await fetch(`api/${path}`, { signal, ...post }).catch((error) => {
    throw error.name === "AbortError" ? error : refused({ error: "the server does not answer", hint: "is dgm serve still running?" });
  });
  if (answer.ok) return answer;
  throw refused(await answer.json().catch(() => ({ error: `the server said ${answer.status}` })));
}

export const json = async (...question) => (await ask(...question)).json();
export const blob = async (...question) => (await ask(...question)).blob();

// Raw float32: { x: Float32Array, shape: [n, ...] }, and facts such as the range of the data.
export async function floats(...question) {
  const answer = await ask(...question);
  const [shape, facts] = ["shape", "facts"].map((name) => answer.headers.get(`dgm-${name}`));
  return { x: new Float32Array(await answer.arrayBuffer()), shape: shape.split(",").map(Number), ...JSON.parse(facts) };
}

// Server-sent events, as { name, data }, until the server ends them. (An EventSource would ask again by itself, and
// keep to itself what a refusal says.)
export async function* events(path, signal, question = {}) {
  const query = encodeURIComponent(JSON.stringify(question));
  const { body } = await ask(`${path}?ask=${query}`, undefined, signal);
  let text = "";
  for await (const part of body.pipeThrough(new TextDecoderStream())) {
    const blocks = (text + part).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const [, name, json] = block.match(/^event: (.*)\ndata: (.*)$/);
      const data = JSON.parse(json);
      if (name === "end") return;
      if (name === "error") throw refused(data);
      yield { name, data };
    }
  }
  throw refused({ error: "the server has broken off", hint: "try again" });
}
